"""A clip: the frames of a part of a video, sampled once for training, rollouts, teachers, pipelines and servers alike.

Sampling is the host's (`MMPluginMixin._get_video_sample_indices`), so a clip that is a whole file gives what the host gives.
"""

import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from ...storage.clip_names import ClipName, decimal, parse_clip
from .clip_problems import ClipProblem
from .decoding import decode_frames
from .timelines import MOST_RATE, Timeline, read_timeline


HOST_FPS, HOST_MAXLEN = 2.0, 128  # the host's defaults of `video_fps` and `video_maxlen`
BEHIND_THE_END = Fraction(1)  # [ours] seconds by which `end` may be behind the file: annotations are rounded


class Clip:
    """Frames at the positions 0, 1, ... of a part of a source, at a constant rate, counted from the part's start.

    A frame is in the part if start <= its time < end. A part between two frames shows the one that is on the screen. Where the
    rate of a file varies, a position shows what is on the screen at its time, so equal steps of positions are equal steps of time.

    Args:
        name: of the clip.

    Attributes:
        count: positions.
        rate: positions a second.
        seconds: length of the part.
        size: width and height of an upright frame.

    Raises:
        ClipProblem: the part does not lie in the source, or the recorded frames are not its.
        OSError, av.FFmpegError: the source cannot be read.
    """

    def __init__(self, name: str | ClipName) -> None:
        """Read when the frames are shown; decode none."""
        self.name = parse_clip(name) if isinstance(name, str) else name
        self.timeline: Timeline = read_timeline(self.name)
        self.size = self.timeline.size
        self._start, end = _checked_span(self.name, self.timeline)
        self._first, self._last = _frames_between(self.timeline, self._start, end)
        self.is_steady = self.timeline.is_steady
        if self.is_steady:
            self.rate = self.timeline.rate
            self.count = self._last - self._first + 1
            self.seconds = self.count / self.rate
        else:
            gaps = np.diff(self.timeline.ticks)
            self.rate = min(1 / (int(gaps[gaps > 0].min()) * self.timeline.time_base), Fraction(MOST_RATE))
            self.seconds = end - self._start
            self.count = max(math.floor(self.seconds * self.rate), 1)
        self.recorded = self._read_record()

    def sample(self, fps: float = HOST_FPS, most: int = HOST_MAXLEN) -> list[int]:
        """Return positions: those that are recorded, else as many as the host would take, evenly.

        Args:
            fps: the host's `video_fps`; recorded frames do not depend on it.
            most: the host's `video_maxlen`; more recorded frames than this are thinned out evenly.
        """
        if self.recorded is None:
            return sample_positions(self.count, float(self.seconds), fps, most)
        if len(self.recorded) <= most:
            return list(self.recorded)
        return [self.recorded[index] for index in sample_positions(len(self.recorded), math.inf, fps, most)]

    def index(self, position: int) -> int:
        """Return the number, from 0, of the source's frame that is shown at a position."""
        if self.is_steady:
            return self._first + position
        shown = self.timeline.shown_at(self._start + position / self.rate)
        return min(max(shown, self._first), self._last)

    def second(self, position: int) -> Fraction:
        """Return when a position is shown, in seconds of the source."""
        if self.is_steady:
            return self.timeline.second(self._first + position)
        return self._start + position / self.rate

    def record(self, positions: Sequence[int]) -> dict[str, list[Any]]:
        """Return the field `frames` of a row: numbers of the source's frames, and seconds of the source."""
        return {
            "indices": [self.index(position) for position in positions],
            "seconds": [round(float(self.second(position)), 6) for position in positions],
        }

    def images(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """Yield the upright picture of each of some rising positions.

        Raises:
            ClipProblem: a frame cannot be decoded.
        """
        shown = [self.index(position) for position in positions]
        if self.name.shuffle is None:
            yield from decode_frames(self.name.source, self.timeline, shown)
            return
        images = list(decode_frames(self.name.source, self.timeline, shown))
        random.Random(self.name.shuffle).shuffle(images)
        yield from images

    def _read_record(self) -> list[int] | None:
        """Return the positions of the recorded frames; None where there is no record."""
        indices, seconds = self.name.indices, self.name.seconds
        if indices is None and seconds is None:
            return None
        if seconds is not None and not (self.is_steady and indices is not None):
            positions = [round((Fraction(second) - self._start) * self.rate) for second in seconds]
            if self.is_steady:
                positions = [self.timeline.shown_at(Fraction(second)) - self._first for second in seconds]
        else:
            positions = [self._position_of(index) for index in indices or ()]
        for place, position in enumerate(positions):
            self._check_recorded(place, position)
        return positions

    def _position_of(self, index: int) -> int:
        if self.is_steady or not 0 <= index < len(self.timeline.ticks):
            return index - self._first
        return math.ceil((self.timeline.second(index) - self._start) * self.rate)

    def _check_recorded(self, place: int, position: int) -> None:
        """Refuse a frame that is not in the clip, or not shown at the second that the row says."""
        remedy = "the row belongs to another file or span; remove `frames` to sample anew"
        indices, seconds = self.name.indices, self.name.seconds
        if not 0 <= position < self.count:
            got = f"frame {indices[place]}" if indices else f"{(seconds or ())[place]} s"
            expected = f"frames {self._first} to {self._last}, the clip's"
            raise ClipProblem(f"frames[{place}]", got, expected, remedy)
        if indices is not None and self.index(position) != indices[place]:
            raise ClipProblem(f"frames[{place}]", f"frame {indices[place]}", f"frame {self.index(position)}", remedy)
        if seconds is not None and abs(Fraction(seconds[place]) - self.second(position)) > 1 / (2 * self.rate):
            expected = f"{decimal(self.second(position))} s, where frame {self.index(position)} is"
            raise ClipProblem(f"frames[{place}]", f"{seconds[place]} s", expected, remedy)


def sample_positions(count: int, seconds: float, fps: float, most: int) -> list[int]:
    """Return which of `count` positions the host takes: n = min(count, most, max(1, floor(seconds fps))), evenly, rounded down."""
    wanted = count if math.isinf(seconds) else max(1, math.floor(seconds * fps))
    chosen: list[int] = np.linspace(0, count - 1, min(count, most, wanted)).astype(np.int32).tolist()
    return chosen


def _checked_span(name: ClipName, timeline: Timeline) -> tuple[Fraction, Fraction]:
    """Return start and end within the source."""
    start, end = name.span
    length = timeline.length
    shown = f"{decimal(length)} s, the length of the source"
    if end is not None and end <= start:
        raise ClipProblem("end", f"{name.end} s", f"more than `start`, {name.start} s", "correct the two")
    if start >= length:
        raise ClipProblem(
            "start", f"{name.start} s", f"less than {shown}", "correct it, or replace a file that was cut"
        )
    if end is not None and end > length + BEHIND_THE_END:
        remedy = "correct it, write null for the end of the file, or replace a file that was cut"
        raise ClipProblem("end", f"{name.end} s", f"at most {shown}", remedy)
    return start, length if end is None else min(end, length)


def _frames_between(timeline: Timeline, start: Fraction, end: Fraction) -> tuple[int, int]:
    """Return the first and the last frame with start <= time < end; the one on the screen where there is none."""
    first, last = _at_or_after(timeline, start), _at_or_after(timeline, end) - 1
    if first > last:
        first = last = timeline.shown_at(start)
    return first, last


def _at_or_after(timeline: Timeline, second: Fraction) -> int:
    """Return the first frame whose time is `second` or more, up to the rounding of the file's times."""
    place = timeline.shown_at(second - 2 * timeline.tolerance)
    return place + 1 if timeline.second(place) < second - timeline.tolerance else place
