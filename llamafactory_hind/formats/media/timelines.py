"""When each frame of a file, a folder or a list of pictures is on the screen."""

import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from PIL import Image

from ...storage.clip_names import ClipName
from .clip_problems import ClipProblem
from .video_index import VideoIndex, index_video


PICTURES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
MOST_RATE = 120  # [ours] frames a second of the view on a file whose rate varies
FINEST = Fraction(1, 10**6)  # seconds; names of clips have six digits
COARSEST = Fraction(1, 2000)  # half a millisecond: the clocks of mkv and webm


@dataclass(frozen=True)
class Timeline:
    """The frames of a source in the order in which they are shown.

    Attributes:
        ticks: time of each frame, never falling.
        time_base: seconds a tick.
        rate: frames a second, on average.
        size: width and height of an upright frame, in pixels.
        index: of a file; None for pictures.
        pictures: paths, of a folder or list.
    """

    ticks: tuple[int, ...]
    time_base: Fraction
    rate: Fraction
    size: tuple[int, int]
    index: VideoIndex | None = None
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
    """Return the timeline of a clip's source; files are indexed once.

    Raises:
        ClipProblem: it has no frames, or no rate.
        OSError, av.FFmpegError: it cannot be read.
    """
    if name.pictures or os.path.isdir(name.source):
        return _of_pictures(name)
    try:
        index = index_video(name.source)
    except ValueError as error:
        raise ClipProblem("", name.source, "a file with a video stream", f"{error}; replace the file") from None
    span = (index.ticks[-1] - index.ticks[0]) * index.time_base
    rate = (len(index.ticks) - 1) / span if span else 1 / index.duration
    return Timeline(index.ticks, index.time_base, rate, index.size, index)


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
    return Timeline(tuple(range(len(paths))), 1 / rate, rate, size, pictures=tuple(paths))
