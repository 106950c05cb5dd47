"""One medium, opened and decoded as training will: what is wrong with it, and in what the host alone sees it differently."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...storage.clip_names import is_clip, source_of
from .clip_problems import ClipProblem
from .clips import Clip
from .frames import frame_times, read_frames_as_host, try_frames
from .pictures import differences, flatten, open_picture, see_picture, upright
from .video_index import VideoIndex, index_video, open_video
from .view import MediaView


TAIL_SECONDS = 1.0  # [ours] a file that has so much less than its header says was cut off


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        reason: why a medium cannot be used; None where it can.
        differences: in what the host alone sees it differently.
        problem: what is wrong with a clip, by field of its row; `reason` says the same in one line.
    """

    reason: str | None = None
    differences: tuple[str, ...] = ()
    problem: ClipProblem | None = None


def inspect_file(kind: str, path: str, view: MediaView) -> Verdict:
    """Look at a file; see `inspect`."""
    if kind == "videos" and is_clip(path):
        return inspect_clip(path)
    if not os.path.isfile(path):
        return Verdict(_not_there(path))
    return inspect(kind, path, view)


def inspect_clip(name: str) -> Verdict:
    """Decode the first and the last frame of a clip and those that its row has recorded, or all its pictures."""
    source = source_of(name)
    try:
        if not os.path.exists(source):
            remedy = "it does not exist (`media_dir` was searched first); correct the path"
            raise ClipProblem("", repr(source), "a file or folder", remedy)
        clip = Clip(name)
        ends = {0, clip.count - 1, *(clip.recorded or ())}
        for image in clip.images(range(clip.count) if clip.timeline.pictures else sorted(ends)):
            see_picture(image)
    except ClipProblem as problem:
        return Verdict(str(problem), (), problem)
    except Exception as error:  # decoders raise what they like
        return Verdict(f"{type(error).__name__}: {error}")
    return Verdict()


def inspect(kind: str, source: Any, view: MediaView) -> Verdict:
    """Open and decode one medium.

    Args:
        kind: `images`, `videos` or `audios`.
        source: a path, encoded bytes, or a decoded picture.
        view: how the run sees media.
    """
    try:
        return Verdict(None, INSPECTIONS[kind](source, view))
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, FFmpegError ...
        return Verdict(f"{type(error).__name__}: {error}")


def _picture(source: Any, view: MediaView) -> tuple[str, ...]:
    stored = open_picture(source)
    found = tuple(differences(stored))
    seen = stored if view.media_as_host else upright(stored)
    view.size("images", *seen.size)
    if view.media_as_host:
        seen.convert("RGB")
    else:
        flatten(seen)
    return found


def _video(source: Any, view: MediaView) -> tuple[str, ...]:
    index = index_video(source)
    if index.missing > TAIL_SECONDS:
        raise ValueError(f"its last {index.missing:.1f} s are missing")
    view.size("videos", *index.size)
    if view.media_as_host:
        read_frames_as_host(source, view.video_fps, view.video_maxlen)
    else:
        try_frames(source, index, frame_times(source, view.video_fps, view.video_maxlen).ticks)
    return tuple(_video_differences(index))


def _video_differences(index: VideoIndex) -> list[str]:
    found = []
    if not index.declared:
        found.append("no number of frames in the header")
    elif not index.is_steady:
        found.append("a rate that varies")
    if index.turn:
        found.append("a rotation flag")
    return found


def _sound(source: Any, view: MediaView) -> tuple[str, ...]:
    with open_video(source) as container:
        if not container.streams.audio:
            raise ValueError("it has no audio stream")
        if not sum(1 for _ in container.decode(container.streams.audio[0])):
            raise ValueError("it has no audio frame")
    return ()


INSPECTIONS: dict[str, Callable[[Any, MediaView], tuple[str, ...]]] = {
    "images": _picture,
    "videos": _video,
    "audios": _sound,
}


def _not_there(path: str) -> str:
    for start, what in (
        ("data:", "base64 text"),
        ("http://", "an address"),
        ("https://", "an address"),
        ("file://", "an address"),
    ):
        if path.startswith(start):
            return f"{what} is not read; save it as a file"
    return "the file does not exist (`media_dir` was searched first)"
