"""Given frames of a video, decoded from the key frames before them, without what lies between."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import av
from PIL import Image

from .clip_problems import ClipProblem
from .timelines import Timeline


TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class SeekFailed(Exception):
    """A frame is not where the index of the file says."""


def decode_frames(source: str, timeline: Timeline, indices: Sequence[int]) -> Iterator[Image.Image]:
    """Yield the upright pictures of some frames; an index may come several times.

    Args:
        source: the file; pictures have their paths in the timeline.
        timeline: of the source.
        indices: numbers of frames, never falling.

    Raises:
        ClipProblem: a frame cannot be decoded.
    """
    if timeline.pictures:
        yield from (_open_picture(timeline.pictures[index]) for index in indices)
        return
    given = 0
    try:
        for index, frame in _seek_and_decode(source, timeline, sorted(set(indices))):
            image = _upright(frame, timeline.turn)
            while given < len(indices) and indices[given] == index:
                yield image
                given += 1
    except (SeekFailed, av.FFmpegError):
        yield from _decode_all(source, timeline, indices[given:])


def _upright(frame: Any, turn: int) -> Image.Image:
    image: Image.Image = frame.to_image()
    return image.transpose(TURNS[turn]) if turn else image


def _open_picture(path: str) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


def _seek_and_decode(source: str, timeline: Timeline, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield (index, frame), each decoded from the last key frame before it or from where decoding stands.

    Raises:
        SeekFailed: a frame is not where the file says.
    """
    if not timeline.has_times:
        raise SeekFailed
    keys = timeline.keys
    with av.open(source, "r") as container:
        stream = container.streams.video[0]
        position, frames = -math.inf, container.decode(stream)
        for index in wanted:
            tick = timeline.ticks[index]
            before = bisect_right(keys, tick)
            if before > 1 and keys[before - 1] > position:
                container.seek(keys[before - 1], stream=stream)
                frames = container.decode(stream)
            frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= tick), None)
            if frame is None or frame.pts != tick:
                raise SeekFailed
            position = tick
            yield index, frame


def _decode_all(source: str, timeline: Timeline, indices: Sequence[int]) -> Iterator[Image.Image]:
    """Decode from the start, by the frames' times or, where the file has none, by their number."""
    with av.open(source, "r") as container:
        frames = _numbered(container, timeline)
        shown, image = -1, None
        for index in indices:
            if index != shown:
                shown, frame = next((pair for pair in frames if pair[0] >= index), (-1, None))
                image = None if frame is None or shown != index else _upright(frame, timeline.turn)
            if image is None:
                remedy = "the file is broken there; replace it, or choose another span"
                raise ClipProblem("", f"{source}, frame {index}", "a frame that can be decoded", remedy)
            yield image


def _numbered(container: Any, timeline: Timeline) -> Iterator[tuple[int, Any]]:
    places = {tick: index for index, tick in enumerate(timeline.ticks)}
    try:
        for count, frame in enumerate(container.decode(container.streams.video[0])):
            number = places.get(frame.pts) if timeline.has_times else count
            if number is not None:
                yield number, frame
    except av.FFmpegError:
        return
