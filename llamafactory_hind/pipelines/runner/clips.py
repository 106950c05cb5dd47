"""Rows whose clips have their frames chosen: what an engine is shown is what the row records, and what training reads.

What opens files is imported where it is used: `synth --help` imports this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...storage.clip_names import decimal, is_clip
from .arguments import SynthArguments
from .row import Row


def with_frames(row: Row, arguments: SynthArguments) -> Row:
    """Return a row whose clips name their frames, by the keys `video_fps` and `video_maxlen`; recorded ones stay.

    Raises:
        ClipProblem: a clip cannot be shown.
    """
    videos = [_with_record(video, *frame_limits(arguments)) for video in row.media["videos"]]
    return replace(row, media={**row.media, "videos": videos})


def frames_of(row: Row) -> Any:
    """Return the field `frames` of a row from `with_frames`: of its video, or a list of one for each; None without clips."""
    records = [_record(video) for video in row.media["videos"]]
    if not any(records):
        return None
    return records[0] if len(records) == 1 else records


def frame_limits(arguments: SynthArguments) -> tuple[float, int]:
    """Return frames a second and frames at most, as the engine of a run takes them."""
    from ...engines.server.parameters import VIDEO_FPS, VIDEO_MAX_FRAMES
    from ...formats.media.clips import HOST_FPS, HOST_MAXLEN

    is_server = arguments.engine == "openai"
    fps = arguments.host_settings.get("video_fps") or (VIDEO_FPS if is_server else HOST_FPS)
    most = arguments.host_settings.get("video_maxlen") or (VIDEO_MAX_FRAMES if is_server else HOST_MAXLEN)
    return float(fps), int(most)


def _with_record(video: Any, fps: float, most: int) -> Any:
    if not is_clip(video):
        return video
    from ...formats.media.clips import Clip

    clip = Clip(video)
    record: Mapping[str, Sequence[Any]] = clip.record(clip.sample(fps, most))
    seconds = tuple(map(decimal, record["seconds"]))
    return str(replace(clip.name, indices=tuple(record["indices"]), seconds=seconds))


def _record(video: Any) -> dict[str, list[Any]] | None:
    if not is_clip(video):
        return None
    from ...formats.media.clips import Clip

    clip = Clip(video)
    return clip.record(clip.recorded or ())
