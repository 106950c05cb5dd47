"""How the host's `mm_plugin` sees media: through our picture and video functions, unless a run asks for the host's own way.

The host's functions still resize, repeat an odd last frame and so on; they get opened pictures in place of files.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .frames import Sampled, decode_frames, frame_times
from .pictures import see_picture
from .video_index import index_video


WAY = "1"  # changes with what our functions make of a file: caches of tokens and numbers carry it
FLAG = "hind_media_as_host"  # of a plugin object; it goes where the object is copied or pickled to
VIDEO_FPS, VIDEO_MAXLEN = 2.0, 128  # the host's defaults


class UnreadableMedium(ValueError):
    """A medium that cannot be read, met where rows are encoded or collated.

    Attributes:
        kind: `images` or `videos`.
        item: as it was given, shortened.
        reason: why.
    """

    def __init__(self, kind: str, item: str, reason: str) -> None:
        """Keep the parts."""
        self.kind, self.item, self.reason = kind, item, reason
        super().__init__(
            f"{kind}: got {item}, expected a readable medium: {reason}. Correct the path or replace the file."
        )

    def __reduce__(self) -> tuple[type["UnreadableMedium"], tuple[str, str, str]]:
        """Let it pass between processes."""
        return type(self), (self.kind, self.item, self.reason)


def set_way(plugin: Any, *, as_host: bool) -> None:
    """Choose how a plugin sees media from now on."""
    if as_host or getattr(plugin, FLAG, False):
        setattr(plugin, FLAG, as_host)


def sees_as_host(plugin: Any) -> bool:
    """Say whether a plugin sees media as the host alone does."""
    return bool(getattr(plugin, FLAG, False))


def regularize_images(host: Callable[..., Any], plugin: Any, images: Sequence[Any], **limits: Any) -> Any:
    """Give the host's `_regularize_images` pictures that are open, upright, and without transparency.

    Raises:
        UnreadableMedium: one cannot be read.
    """
    if sees_as_host(plugin):
        return host(plugin, images, **limits)
    return host(plugin, [_seen("images", image, see_picture) for image in images], **limits)


def regularize_videos(host: Callable[..., Any], plugin: Any, videos: Sequence[Any], **limits: Any) -> Any:
    """Give the host's `_regularize_videos` frames that are sampled by time, and correct what it says of their times.

    Raises:
        UnreadableMedium: one cannot be read.
    """
    if sees_as_host(plugin):
        return host(plugin, videos, **limits)
    fps, maxlen = limits.get("video_fps", VIDEO_FPS), limits.get("video_maxlen", VIDEO_MAXLEN)
    given, plans = [], []
    for video in videos:
        sampled, frames = None, list(video) if isinstance(video, list) else video  # the host lengthens an odd list
        if is_file(video):
            most = limits.get("image_max_pixels")  # the host's name for it, also where frames are meant
            sampled, frames = _seen(
                "videos", video, partial(_sample_and_read, fps=fps, maxlen=maxlen, most_pixels=most)
            )
        given.append(frames)
        plans.append(sampled)
    found = host(plugin, given, **limits)
    for place, sampled in enumerate(plans):
        if sampled is not None:
            _tell_times(found, place, sampled, fps)
    return found


def stream_metadata(host: Callable[..., Any], plugin: Any, video: Any, fps: float, maxlen: int) -> Any:
    """Answer the host's `_get_qwen_video_stream_metadata` (since 0.9.5): what tokens are counted from, nothing is decoded.

    `average_fps` is 1, so that the host takes our seconds for numbers of frames.
    """
    if sees_as_host(plugin) or not is_file(video):
        return host(plugin, video, fps, maxlen)
    sampled = _seen("videos", video, lambda source: frame_times(source, fps, maxlen))
    width, height = sampled.size
    return {"width": width, "height": height, "average_fps": 1.0, "sample_indices": list(sampled.seconds)}


def sample_indices(host: Callable[..., Any], plugin: Any, stream: Any, *args: Any, **limits: Any) -> Any:
    """Answer the host's `_get_video_sample_indices`, for plugins that open files themselves: the numbers of our frames."""
    path = getattr(getattr(stream, "container", None), "name", None)
    if sees_as_host(plugin) or not (isinstance(path, str) and is_file(path)):
        return host(plugin, stream, *args, **limits)
    values = dict(zip(("video_fps", "video_maxlen"), args, strict=False)) | limits
    ticks = frame_times(path, values["video_fps"], values["video_maxlen"]).ticks
    return np.searchsorted(index_video(path).ticks, ticks).astype(np.int32)


def is_file(video: Any) -> bool:
    """Say whether a video is a file or encoded bytes: lists of frames and names of clips are sampled by others."""
    return isinstance(video, bytes) or (isinstance(video, str | os.PathLike) and os.path.isfile(video))


def _sample_and_read(source: Any, fps: float, maxlen: int, most_pixels: int | None) -> tuple[Sampled, list[Any]]:
    sampled = frame_times(source, fps, maxlen)
    return sampled, decode_frames(source, index_video(source), sampled.ticks, most_pixels=most_pixels)


def _seen(kind: str, item: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(os.fspath(item) if isinstance(item, os.PathLike) else item)
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, FFmpegError ...
        raise UnreadableMedium(kind, _named(item), f"{type(error).__name__}: {error}") from error


def _named(item: Any) -> str:
    if isinstance(item, Mapping):
        item = item.get("path") or item.get("bytes")
    return repr(str(item)) if isinstance(item, str | os.PathLike) else f"embedded data ({type(item).__name__})"


def _tell_times(found: dict[str, Any], place: int, sampled: Sampled, fps: float) -> None:
    """Write what the host would know of a file: it took the frames for a list, sampled at `fps`."""
    truth = {
        "durations": sampled.duration,
        "fps_per_video": len(sampled.ticks) / sampled.duration,
        "frames_indices": [second * fps for second in sampled.seconds],
    }
    for name, value in truth.items():
        if name in found:
            found[name][place] = value
