"""Given frames of a clip's source, upright."""

from collections.abc import Iterator, Sequence

from PIL import Image

from . import frames
from .clip_problems import ClipProblem
from .pictures import open_picture
from .timelines import Timeline


def decode_frames(source: str, timeline: Timeline, indices: Sequence[int]) -> Iterator[Image.Image]:
    """Yield the pictures of some frames; an index may come several times.

    Args:
        source: the file; pictures have their paths in the timeline.
        timeline: of the source.
        indices: numbers of frames, never falling.

    Raises:
        ClipProblem: a frame cannot be decoded.
    """
    if timeline.index is None:
        yield from (open_picture(timeline.pictures[index]) for index in indices)
        return
    try:
        yield from frames.decode_frames(source, timeline.index, [timeline.ticks[index] for index in indices])
    except ValueError as error:
        remedy = f"{error}; replace the file, or choose another span"
        raise ClipProblem(
            "", f"{source}, frames {indices[0]} to {indices[-1]}", "frames that can be decoded", remedy
        ) from None
