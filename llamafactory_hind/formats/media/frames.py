"""Frames of a video, evenly in time, without decoding what lies between where key frames allow it."""

import io
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
from PIL import Image


class SeekFailed(Exception):
    """A file without an index was entered behind the place that was asked for."""


def sample_frames(source: str | bytes, *, fps: float, most: int) -> list[Image.Image]:
    """Return `fps` frames a second, one at least, `most` at most; the first and the last are among two or more.

    Args:
        source: path or encoded bytes.
        fps: frames a second.
        most: frames at most.

    Raises:
        ValueError: there is no video stream, or no frame in it can be decoded.
    """
    times, keys, seconds = _read_times(source)
    wanted = pick_times(times, min(max(math.floor(seconds * fps), 1), most))
    try:
        frames = list(_seek_and_decode(source, wanted, keys))
    except SeekFailed:
        frames = list(_decode_all(source, wanted))
    if not frames:
        raise ValueError("no frame of it can be decoded")
    return frames


def pick_times(times: Sequence[int], count: int) -> list[int]:
    """Return the times of `count` frames, each the last one not after its even share of the way; no frame twice."""
    if count == 1:
        return [times[0]]
    span = times[-1] - times[0]
    # whole numbers: rounding must not fall just below the time of a frame
    places = [bisect_right(times, times[0] + span * number // (count - 1)) - 1 for number in range(count)]
    return [times[place] for place in dict.fromkeys(places)]


def _open(source: str | bytes) -> Any:
    return av.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r")


def _read_times(source: str | bytes) -> tuple[list[int], list[int], float]:
    """Return the times of all frames and of key frames, and the seconds in all; headers may misstate them."""
    with _open(source) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise ValueError("it has no video stream")
        found = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.pts is not None]
        if not found:
            raise ValueError("it has no video frame")
        times = sorted(time for time, _ in found)
        span = times[-1] - times[0]
        length = Fraction(span * len(times), max(len(times) - 1, 1)) * stream.time_base
        return times, sorted(time for time, is_key in found if is_key), float(length)


def _seek_and_decode(source: str | bytes, wanted: Sequence[int], keys: Sequence[int]) -> Iterator[Image.Image]:
    """Decode the frames at the wanted times, each from the last key frame before it or from where decoding stands.

    Raises:
        SeekFailed: a frame is not where the file says.
    """
    with _open(source) as container:
        stream = container.streams.video[0]
        position, frames = -math.inf, container.decode(stream)
        for time in wanted:
            before = bisect_right(keys, time)
            if before > 1 and keys[before - 1] > position:
                container.seek(keys[before - 1], stream=stream)
                frames = container.decode(stream)
            frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
            if frame is None or frame.pts != time:
                raise SeekFailed
            position = time
            yield frame.to_image()


def _decode_all(source: str | bytes, wanted: Sequence[int]) -> Iterator[Image.Image]:
    """Decode from the start; frames that are missing are left out, or their successors stand for them."""
    with _open(source) as container:
        frames = container.decode(container.streams.video[0])
        for time in wanted:
            frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
            if frame is not None:
                yield frame.to_image()
