"""When each frame of a video is on the screen, and how it must be turned: packets are read, frames are not decoded.

Headers may lie or say nothing (MKV and WebM have no number of frames, phones write a flag instead of turning the picture), so
what counts is what is in the file.
"""

import io
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
from PIL import Image


REMEMBERED = 1024  # [ours] files; one of a minute at 30 frames a second takes about 50 kB
COARSE = Fraction(1, 5000)  # clocks that tick no faster (MKV, WebM: 1/1000) round the times of frames
ROUNDED = 4  # [ours] ticks a frame above which a time is rounded and not a number of the frame
ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: the cover of a sound file


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a video in the order in which they are shown.

    Attributes:
        ticks: time of each frame in `time_base`, never falling.
        keys: ticks of frames at which decoding can start.
        time_base: seconds a tick.
        duration: seconds in all, the last frame with its share.
        size: width and height of an upright frame, in pixels.
        turn: degrees counterclockwise by which a decoded frame must be turned to be upright: 0, 90, 180, 270.
        has_times: the file says when its frames are shown; else they were counted by decoding.
        declared: frames in the header; 0 where it does not say, as in MKV and WebM.
        missing: seconds that the header promises and the file does not have.
    """

    ticks: tuple[int, ...]
    keys: tuple[int, ...]
    time_base: Fraction
    duration: Fraction
    size: tuple[int, int]
    turn: int = 0
    has_times: bool = True
    declared: int = 0
    missing: float = 0.0

    def seconds(self, tick: int) -> Fraction:
        """Return when a frame appears, in seconds from the first one."""
        return (tick - self.ticks[0]) * self.time_base

    @property
    def slack(self) -> int:
        """Ticks by which the file may have rounded the time of a frame."""
        span = self.ticks[-1] - self.ticks[0]
        return 1 if self.time_base >= COARSE and span > ROUNDED * len(self.ticks) else 0

    @property
    def is_steady(self) -> bool:
        """Whether every frame is nearer to its place at the average rate than to its neighbours' places."""
        steps = len(self.ticks) - 1
        span = self.ticks[-1] - self.ticks[0]
        return (
            all(abs((tick - self.ticks[0]) * steps - place * span) * 2 < span for place, tick in enumerate(self.ticks))
            or not span
        )

    def between(self, start: Fraction, end: Fraction | None) -> tuple[int, ...]:
        """Return the ticks of frames with start <= time < end; where there is none, the frame on the screen at `start`."""
        origin = self.ticks[0] - self.slack
        first = bisect_left(self.ticks, origin + start / self.time_base)
        last = len(self.ticks) if end is None else bisect_left(self.ticks, origin + end / self.time_base)
        return self.ticks[first:last] or (
            self.ticks[max(bisect_right(self.ticks, self.ticks[0] + start / self.time_base) - 1, 0)],
        )


def index_video(source: str | bytes) -> VideoIndex:
    """Return the index of a file, from memory where it has not changed, or of encoded bytes.

    Raises:
        ValueError: there is no video in it, no frame of it can be decoded, or its frames are too large to be real.
        OSError, av.FFmpegError: it cannot be opened.
    """
    if isinstance(source, bytes):
        return _read_index(source)
    status = os.stat(source)
    return _remembered(source, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=REMEMBERED)
def _remembered(path: str, size: int, changed: int) -> VideoIndex:
    return _read_index(path)


def open_video(source: str | bytes) -> Any:
    """Open a file or encoded bytes with PyAV."""
    return av.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r")


def video_stream(container: Any) -> Any:
    """Return the first stream with moving pictures.

    Raises:
        ValueError: there is none.
    """
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise ValueError("it has no video stream" + (", only a cover picture" if container.streams.video else ""))
    return streams[0]


def _is_cover(stream: Any) -> bool:
    disposition = getattr(stream, "disposition", None)  # since PyAV 13
    return bool(getattr(disposition, "value", 0) & ATTACHED_PICTURE)


def _read_index(source: str | bytes) -> VideoIndex:
    with open_video(source) as container:
        stream = video_stream(container)
        _refuse_bomb(stream.width or 0, stream.height or 0)
        packets = [(packet.pts, packet.is_keyframe) for packet in _packets(container, stream)]
        time_base, declared = Fraction(stream.time_base), stream.frames or 0
        promised = None if stream.duration is None else stream.duration * time_base
        rate = stream.average_rate or stream.guessed_rate
    size, turn = _first_look(source)
    if not packets or any(time is None for time, _ in packets):
        return _counted(source, Fraction(rate or 1), size, turn, declared)
    ticks = tuple(sorted(time for time, _ in packets))
    span = ticks[-1] - ticks[0]
    step = Fraction(span, len(ticks) - 1) if span else 1 / (Fraction(rate or 1) * time_base)
    duration = (span + step) * time_base
    missing = 0.0 if promised is None else max(float(promised - duration), 0.0)
    if promised is not None and abs(promised - duration) <= step * time_base:
        duration = promised  # of a whole file, as the host counts it
    keys = tuple(sorted(time for time, is_key in packets if is_key))
    return VideoIndex(ticks, keys, time_base, duration, size, turn, True, declared, missing)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield packets that show something, until the file ends or breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.size and not getattr(packet, "is_discard", False):  # an edit list may leave frames out
                yield packet
    except av.FFmpegError:
        return


def _first_look(source: str | bytes) -> tuple[tuple[int, int], int]:
    """Return size of an upright frame, and how a decoded one must be turned."""
    with open_video(source) as container:
        stream = video_stream(container)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError("it has no video frame")
        turn = round(_rotation(frame, stream)) % 360
        _refuse_bomb(frame.width, frame.height)
    turn = turn if turn % 90 == 0 else 0
    return (frame.height, frame.width) if turn % 180 else (frame.width, frame.height), turn


def _rotation(frame: Any, stream: Any) -> float:
    """Return degrees counterclockwise; frames know it since PyAV 14, streams did before."""
    found = getattr(frame, "rotation", None)
    if found is None:
        found = dict(getattr(stream, "side_data", None) or {}).get("DISPLAYMATRIX", 0)
    return float(found or 0)


def _refuse_bomb(width: int, height: int) -> None:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow's own limit for a picture
    if limit and width * height > limit:
        raise ValueError(f"a frame has {width} x {height} pixels, expected at most {limit} in all")


def _counted(source: str | bytes, rate: Fraction, size: tuple[int, int], turn: int, declared: int) -> VideoIndex:
    """Return the index of a file whose packets have no times: frames are counted, at the rate of its header."""
    count = 0
    with open_video(source) as container:
        try:
            for _ in container.decode(video_stream(container)):
                count += 1
        except av.FFmpegError:
            pass  # what is there counts; the frames are decoded again when they are read
    return VideoIndex(tuple(range(count)), (0,), 1 / rate, count / rate, size, turn, False, declared)
