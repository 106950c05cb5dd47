"""When each frame of a file, a folder or a list of pictures is on the screen; packets are read, frames are not decoded."""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import av
import numpy as np
from PIL import Image

from ...storage.clip_names import ClipName
from .clip_problems import ClipProblem


PICTURES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
REMEMBERED = 4096  # [ours] timelines; one of a minute takes about 50 kB
MOST_RATE = 120  # [ours] frames a second of the view on a file whose rate varies
FINEST = Fraction(1, 10**6)  # seconds; names of clips have six digits
COARSEST = Fraction(1, 2000)  # half a millisecond: the clocks of mkv and webm


@dataclass(frozen=True)
class Timeline:
    """The frames of a source in the order in which they are shown.

    Attributes:
        ticks: time of each frame, rising.
        time_base: seconds a tick.
        keys: ticks of the frames at which decoding can start; empty for pictures.
        rate: frames a second, on average.
        size: width and height of an upright frame, in pixels.
        turn: degrees by which a decoded frame must be turned, counterclockwise, to be upright.
        has_times: the file says when its frames are shown; else they were counted by decoding it.
        pictures: paths, of a folder or list.
    """

    ticks: tuple[int, ...]
    time_base: Fraction
    keys: tuple[int, ...]
    rate: Fraction
    size: tuple[int, int]
    turn: int = 0
    has_times: bool = True
    pictures: tuple[str, ...] = ()

    def second(self, index: int) -> Fraction:
        """Return when a frame appears, in seconds from the first one."""
        return (self.ticks[index] - self.ticks[0]) * self.time_base

    def shown_at(self, second: Fraction) -> int:
        """Return the frame that is on the screen at a second: the last one that appeared, the first before all."""
        place = bisect_right(self.ticks, self.ticks[0] + (second + self.tolerance) / self.time_base)
        return max(place - 1, 0)

    @property
    def length(self) -> Fraction:
        """Seconds in all, the last frame as long as the others on average."""
        return self.second(-1) + 1 / self.rate

    @property
    def tolerance(self) -> Fraction:
        """Seconds by which a time of the file may be rounded."""
        return max(min(self.time_base / 2, COARSEST), FINEST)

    @cached_property
    def is_steady(self) -> bool:
        """Whether every frame is nearer to its place at the average rate than to its neighbours' places."""
        places = (np.asarray(self.ticks, dtype=np.float64) - self.ticks[0]) * float(self.time_base * self.rate)
        return bool((np.abs(places - np.arange(len(places))) < 0.5).all())


def read_timeline(name: ClipName) -> Timeline:
    """Return the timeline of a clip's source, from memory where the source has not changed.

    Raises:
        ClipProblem: it has no frames, or no rate.
        OSError, av.FFmpegError: it cannot be read.
    """
    if name.pictures or os.path.isdir(name.source):
        return _of_pictures(name)
    status = os.stat(name.source)
    return _of_file(name.source, status.st_size, status.st_mtime_ns)


def list_pictures(folder: str) -> list[str]:
    """Return the pictures of a folder in their natural order: 2.png before 10.png."""
    names = [name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in PICTURES]
    return [os.path.join(folder, name) for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _of_pictures(name: ClipName) -> Timeline:
    paths = [os.path.join(name.source, picture) for picture in name.pictures] or list_pictures(name.source)
    if not paths:
        raise ClipProblem("", name.source, "a folder with pictures", "correct the path")
    if name.fps is None:
        raise ClipProblem("fps", "nothing", "pictures a second of the folder or list", "write it")
    with Image.open(paths[0]) as first:
        size = first.size
    rate = Fraction(name.fps)
    return Timeline(tuple(range(len(paths))), 1 / rate, (), rate, size, pictures=tuple(paths))


@lru_cache(maxsize=REMEMBERED)
def _of_file(path: str, size: int, changed: int) -> Timeline:
    with av.open(path, "r") as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise ClipProblem("", path, "a file with a video stream", "it has none; replace the file")
        packets = [(packet.pts, packet.is_keyframe) for packet in _readable(container, stream)]
        average, time_base = stream.average_rate, Fraction(stream.time_base)
    if not packets:
        raise ClipProblem("", path, "a file with video frames", "it has none; replace the file")
    turn, upright = _first_look(path)
    if any(pts is None for pts, _ in packets):
        return _counted(path, average, turn, upright)
    ticks = sorted({pts for pts, _ in packets})
    keys = tuple(sorted(pts for pts, is_key in packets if is_key))
    return Timeline(tuple(ticks), time_base, keys, _rate(ticks, time_base, average), upright, turn)


def _readable(container: Any, stream: Any) -> Any:
    """Yield packets with data until the file ends or breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:  # an edit list may leave out what stands before the first frame
                yield packet
    except av.FFmpegError:
        return


def _rate(ticks: Sequence[int], time_base: Fraction, average: Fraction | None) -> Fraction:
    if len(ticks) > 1:
        return (len(ticks) - 1) / Fraction((ticks[-1] - ticks[0]) * time_base)
    return Fraction(average) if average else Fraction(1)


def _first_look(path: str) -> tuple[int, tuple[int, int]]:
    """Return how the first frame must be turned, and its size then."""
    with av.open(path, "r") as container:
        frame = next(container.decode(container.streams.video[0]), None)
    if frame is None:
        raise ClipProblem("", path, "a file with video frames", "no frame of it can be decoded; replace the file")
    turn = round(getattr(frame, "rotation", 0) or 0) % 360  # since PyAV 14
    turn = turn if turn % 90 == 0 else 0
    return turn, (frame.height, frame.width) if turn % 180 else (frame.width, frame.height)


def _counted(path: str, average: Fraction | None, turn: int, size: tuple[int, int]) -> Timeline:
    """Return the timeline of a file whose packets have no times: frames are counted, at the rate of its header."""
    count = 0
    with av.open(path, "r") as container:
        try:
            for _ in container.decode(container.streams.video[0]):
                count += 1
        except av.FFmpegError:
            pass
    if not average:
        raise ClipProblem("", path, "a file that says when its frames are shown", "write it anew, such as to mp4")
    return Timeline(tuple(range(count)), 1 / Fraction(average), (), Fraction(average), size, turn, has_times=False)
