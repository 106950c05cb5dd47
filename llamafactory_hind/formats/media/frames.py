"""Frames of a video, evenly in time, upright: one sampler for training, engines, teachers and servers.

The host takes evenly spaced NUMBERS of frames, from what the header says. Where a header has no number of frames it takes the
first ones, and where the rate varies its frames are not evenly spaced in time.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from .video_index import VideoIndex, index_video, open_video, video_stream


TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class SeekFailed(Exception):
    """A file without an index was entered behind the place that was asked for."""


@dataclass(frozen=True)
class Sampled:
    """Which frames of a video, or of a part of it, are seen.

    Attributes:
        ticks: of the frames, in the file's clock; one that is long on the screen may come more than once.
        seconds: when they are seen, from the beginning of the part.
        duration: seconds of the part.
        size: width and height of an upright frame, in pixels.
    """

    ticks: tuple[int, ...]
    seconds: tuple[float, ...]
    duration: float
    size: tuple[int, int]


def frame_times(
    source: str | bytes, fps: float, maxlen: int, start: float | None = None, end: float | None = None
) -> Sampled:
    """Choose the frames of a video: `fps` a second, one at least, `maxlen` or all there are at most, evenly in time.

    The first frame and the last one are among two or more. No frame is decoded but the first.

    Args:
        source: path or encoded bytes.
        fps: frames a second.
        maxlen: frames at most.
        start: seconds of the file at which the part begins; None is its beginning.
        end: seconds at which the part ends, not included; None is the end of the file.

    Raises:
        ValueError: there is no video in it, or no frame of it can be decoded.
        OSError, av.FFmpegError: it cannot be opened.
    """
    return _sample(index_video(source), fps, maxlen, start, end)


def read_frames(
    source: str | bytes, fps: float, maxlen: int, start: float | None = None, end: float | None = None
) -> list[Image.Image]:
    """Return the frames that `frame_times` chooses, upright, RGB; arguments and errors are the same.

    Raises:
        ValueError: one of the frames cannot be decoded.
    """
    index = index_video(source)
    return decode_frames(source, index, _sample(index, fps, maxlen, start, end).ticks)


def _sample(index: VideoIndex, fps: float, maxlen: int, start: float | None, end: float | None) -> Sampled:
    begin = Fraction(start or 0)
    stop = index.duration if end is None else min(Fraction(end), index.duration)
    ticks = (
        index.ticks if start is None and end is None else index.between(begin, None if end is None else Fraction(end))
    )
    duration = max(stop - begin, Fraction(0))
    count = max(math.floor(float(duration + index.slack * index.time_base) * fps), 1)
    chosen = pick_times(ticks, min(count, maxlen, len(ticks)), slack=index.slack)
    steps = max(len(chosen) - 1, 1)
    span, first = ticks[-1] - ticks[0], max(float(index.seconds(ticks[0]) - begin), 0.0)
    seconds = tuple(first + float(Fraction(span * place, steps) * index.time_base) for place in range(len(chosen)))
    return Sampled(tuple(chosen), seconds, float(duration), index.size)


def pick_times(times: Sequence[int], count: int, *, slack: int = 0) -> list[int]:
    """Return the times of `count` frames, each that of the frame on the screen at its even share of the way.

    Args:
        times: of all frames, never falling.
        count: at least 1.
        slack: by how much a time may be rounded.
    """
    if count == 1:
        return [times[0]]
    span = times[-1] - times[0]
    # whole numbers: rounding must not fall just below the time of a frame
    places = [bisect_right(times, times[0] + span * number // (count - 1) + slack) - 1 for number in range(count)]
    return [times[place] for place in places]


def decode_frames(
    source: str | bytes, index: VideoIndex, ticks: Sequence[int], *, keep: bool = True, most_pixels: int | None = None
) -> list[Image.Image]:
    """Return the upright pictures of frames of a video, one a tick.

    Args:
        source: path or encoded bytes.
        index: of the source.
        ticks: of its frames, never falling.
        keep: False decodes the same frames, and gives the last one for all: a check needs no memory for them.
        most_pixels: a larger frame is made smaller once it is decoded, as the host does with all of them afterwards, so
            that they are not in memory together; None leaves it.

    Raises:
        ValueError: a frame cannot be decoded.
    """
    wanted = sorted(set(ticks))
    try:
        try:
            found = _kept(_seek_and_decode(source, index, wanted), keep, most_pixels)
        except SeekFailed:
            found = _kept(_decode_all(source, index, wanted), keep, most_pixels)
    except av.FFmpegError as error:
        raise ValueError(f"a frame cannot be decoded ({type(error).__name__}: {error})") from None
    if not found:
        raise ValueError("no frame of it can be decoded")
    pictures, latest = [], found[min(found)]
    for tick in ticks:
        latest = found.get(tick, latest)  # a cut file lists a last frame that it does not have
        pictures.append(latest)
    return pictures


def _kept(frames: Iterator[tuple[int, Image.Image]], keep: bool, most_pixels: int | None) -> dict[int, Image.Image]:
    found: dict[int, Image.Image] = {}
    for tick, image in frames:
        if not keep:
            found.clear()
        found[tick] = shrunk(image, most_pixels)
    return found


def shrunk(image: Image.Image, most_pixels: int | None) -> Image.Image:
    """Return a frame of at most `most_pixels`, in the size and with the filter of the host's `_preprocess_image`."""
    pixels = image.width * image.height
    if most_pixels is None or pixels <= most_pixels:
        return image
    factor = math.sqrt(most_pixels / pixels)
    return image.resize((max(int(image.width * factor), 1), max(int(image.height * factor), 1)))


def try_frames(source: str | bytes, index: VideoIndex, ticks: Sequence[int]) -> None:
    """Decode the frames that `decode_frames` would, one at a time, and keep none; arguments and errors are the same."""
    decode_frames(source, index, ticks, keep=False)


def _upright(frame: Any, turn: int) -> Image.Image:
    image: Image.Image = frame.to_image()
    return image.transpose(TURNS[turn]) if turn else image


def _seek_and_decode(
    source: str | bytes, index: VideoIndex, wanted: Sequence[int]
) -> Iterator[tuple[int, Image.Image]]:
    """Decode the frames at the wanted times, each from the last key frame before it or from where decoding stands.

    Raises:
        SeekFailed: a frame is not where the file says.
    """
    if not index.has_times:
        raise SeekFailed
    with open_video(source) as container:
        stream = video_stream(container)
        position, frames = -math.inf, container.decode(stream)
        for time in wanted:
            before = bisect_right(index.keys, time)
            if before > 1 and index.keys[before - 1] > position:
                container.seek(index.keys[before - 1], stream=stream)
                frames = container.decode(stream)
            frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
            if frame is None or frame.pts != time:
                raise SeekFailed
            position = time
            yield time, _upright(frame, index.turn)


def _decode_all(source: str | bytes, index: VideoIndex, wanted: Sequence[int]) -> Iterator[tuple[int, Image.Image]]:
    """Decode from the start; frames that are missing are left out, or their successors stand for them."""
    with open_video(source) as container:
        frames = _timed(container.decode(video_stream(container)), has_times=index.has_times)
        for time in wanted:
            frame = next((frame for tick, frame in frames if tick >= time), None)
            if frame is not None:
                yield time, _upright(frame, index.turn)


def _timed(frames: Iterator[Any], *, has_times: bool) -> Iterator[tuple[int, Any]]:
    """Yield frames with their times, or with their numbers where the file has no times."""
    for number, frame in enumerate(frames):
        if not has_times:
            yield number, frame
        elif frame.pts is not None:
            yield frame.pts, frame


def read_frames_as_host(source: str | bytes, fps: float, maxlen: int) -> list[Image.Image]:
    """Return the frames that the host alone takes (`media_as_host`): by numbers from the header, as they are stored.

    Where the header has no number of frames these are the first `maxlen`.

    Raises:
        ValueError: there is no video in it, or no frame of it can be decoded.
        OSError, av.FFmpegError: it cannot be opened, or a frame cannot be decoded.
    """
    with open_video(source) as container:
        stream = video_stream(container)
        total, count = stream.frames, maxlen
        if total:
            count = min(total, maxlen, max(1, math.floor(float(stream.duration * stream.time_base) * fps)))
        wanted = set(np.linspace(0, (total or maxlen) - 1, count).astype(np.int32).tolist())
        frames = [frame.to_image() for number, frame in enumerate(container.decode(stream)) if number in wanted]
    if not frames:
        raise ValueError("no frame of it can be decoded")
    return frames
