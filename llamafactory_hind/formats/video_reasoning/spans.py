"""Which part of which video a row shows: its fields `start`, `end`, `fps` and `frames` as names of clips."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...config.problem import RowProblem, show
from ...storage.clip_names import ClipName, decimal, folder_of
from ..fields import as_list, is_missing
from ..media.clips import HOST_FPS


def clip_names(fields: Mapping[str, Any], videos: Sequence[Any]) -> list[Any]:
    """Return the videos of a row as names of clips; pictures that are embedded in the row stay as they are.

    Args:
        fields: of the row; where `span_problems` finds something, the videos stay as they are.
        videos: its videos, with paths that can be opened.
    """
    if next(span_problems(fields), None) is not None:
        return list(videos)
    spans = [_for_each(fields.get(field), len(videos)) for field in ("start", "end", "fps", "frames")]
    return [_clip_name(video, *span) for video, *span in zip(videos, *spans, strict=True)]


def span_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with the part of the videos that a row names; files are not opened."""
    videos = as_list(fields.get("videos"))
    for field in ("start", "end", "fps"):
        for name, value in _named_values(field, fields.get(field)):
            least = "more than 0" if field == "fps" else "0 or more"
            if not _is_number(value) or value < 0 or (field == "fps" and value == 0):
                expected = "pictures a second" if field == "fps" else "seconds of the file"
                yield RowProblem(name, show(value), f"{expected}, {least}", "write a number or null")
    for name, value in _named_values("frames", fields.get("frames")):
        yield from _record_problems(name, value)
    for field in ("start", "end", "fps", "frames"):
        value = fields.get(field)
        if isinstance(value, list) and len(value) != len(videos):
            yield RowProblem(
                field, f"{len(value)} values", f"one for each of {len(videos)} videos", "correct the list"
            )
        elif value is not None and not isinstance(value, list) and len(videos) != 1:
            remedy = "write a list of one for each video, or null"
            yield RowProblem(field, f"{show(value)} beside {len(videos)} videos", "exactly one video", remedy)
    for index, video in enumerate(videos):
        if isinstance(video, list) and any(isinstance(picture, list) for picture in video):
            yield RowProblem(f"videos[{index}]", show(video), "a list of pictures", "write paths")


def _for_each(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _named_values(field: str, value: Any) -> list[tuple[str, Any]]:
    values = [(f"{field}[{index}]", one) for index, one in enumerate(value)] if isinstance(value, list) else []
    return [(name, one) for name, one in values or [(field, value)] if one is not None]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _record_problems(name: str, record: Any) -> Iterator[RowProblem]:
    expected = '{"indices": [...], "seconds": [...]}, both rising and of one length, or one of the two'
    remedy = "write null to sample anew"
    if not isinstance(record, Mapping) or all(is_missing(record.get(key)) for key in ("indices", "seconds")):
        yield RowProblem(name, show(record), expected, remedy)
        return
    lists = {key: record[key] for key in ("indices", "seconds") if not is_missing(record.get(key))}
    for key, values in lists.items():
        right = isinstance(values, list) and all(
            _is_number(value) and value >= 0 and (key == "seconds" or isinstance(value, int)) for value in values
        )
        if not right or any(later < earlier for earlier, later in itertools.pairwise(values)):
            yield RowProblem(f"{name}.{key}", show(values), "rising numbers, 0 or more", remedy)
            return
    if len({len(values) for values in lists.values()}) > 1:
        yield RowProblem(name, show(record), expected, remedy)


def _clip_name(video: Any, start: Any, end: Any, fps: Any, record: Any) -> Any:
    pictures: tuple[str, ...] = ()
    if isinstance(video, list) and video and all(isinstance(picture, str) and picture for picture in video):
        video, pictures = folder_of(video)
    if not isinstance(video, str) or not video:
        return video  # embedded, or nothing that has a path
    if (pictures or os.path.isdir(video)) and fps is None:
        fps = HOST_FPS  # as the host takes lists of pictures
    is_file = not pictures and not os.path.isdir(video)
    indices, seconds = ((record or {}).get(key) for key in ("indices", "seconds"))
    return str(
        ClipName(
            source=video,
            start=decimal(start or 0),
            end=None if end is None else decimal(end),
            indices=tuple(indices) if indices else None,
            seconds=tuple(map(decimal, seconds)) if seconds else None,
            fps=None if is_file else decimal(fps),
            pictures=pictures,
        )
    )
