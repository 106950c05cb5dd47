"""Is this a box of this picture? One problem as a text (got, expected, what to do), or the box cut to the picture."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from .geometry import Box


Corners = tuple[float, float, float, float]
Size = tuple[float, float]

SLACK = 0.05  # share of a side (of the picture, of a model's grid) by which a number may stick out [ours]
SHOWN_CHARACTERS = 120


def check_box(box: Any, image_size: Any) -> str | None:
    """Return what is wrong with a box, as one sentence with got, expected and what to do; None if nothing is.

    Args:
        box: (x1, y1, x2, y2) in pixels of the original picture, left top and right bottom corner,
            continuous: the picture itself is (0, 0, width, height), and the pixel in its left top
            corner is (0, 0, 1, 1).
        image_size: (width, height) of the original picture in pixels.
    """
    return _corners_problem(box) or _size_problem(image_size) or _outside_problem(box, image_size, slack=0.0)


def clamp_box(box: Box, image_size: Size, *, slack: float = SLACK) -> Corners:
    """Return a box cut to the picture; what annotators and detectors drew slightly outside becomes valid.

    Args:
        box: (x1, y1, x2, y2) in pixels of the original picture.
        image_size: (width, height) in pixels.
        slack: how far a side may stick out, as a share of the picture's width or height [ours].

    Raises:
        ValueError: no box, further outside than `slack`, or nothing of it lies in the picture.
    """
    problem = _corners_problem(box) or _size_problem(image_size) or _outside_problem(box, image_size, slack=slack)
    if problem is None:
        cut = clip(box, image_size)
        problem = _corners_problem(cut) and _outside_problem(box, image_size, slack=0.0)
    if problem is not None:
        raise ValueError(f"box: {problem}")
    return cut


def clip(box: Box, image_size: Size) -> Corners:
    """Return a box with every coordinate moved into the picture; one that lies outside loses its area."""
    (width, height), (left, top, right, bottom) = image_size, box
    return (
        min(max(float(left), 0.0), float(width)),
        min(max(float(top), 0.0), float(height)),
        min(max(float(right), 0.0), float(width)),
        min(max(float(bottom), 0.0), float(height)),
    )


def require_box(box: Any, image_size: Any) -> None:
    """Raise what `check_box` finds.

    Raises:
        ValueError: the box or the size of the picture is none.
    """
    problem = check_box(box, image_size)
    if problem is not None:
        raise ValueError(f"box: {problem}")


def require_size(size: Any, name: str) -> None:
    """Raise unless a size is two positive numbers.

    Raises:
        ValueError: with the name of the size.
    """
    problem = _size_problem(size, name)
    if problem is not None:
        raise ValueError(problem)


def are_numbers(values: Any, count: int) -> bool:
    """Say whether this is a sequence of so many finite numbers; true and false are none."""
    listed_values = hasattr(values, "__len__") and hasattr(values, "__getitem__")  # a NumPy array too
    if isinstance(values, (str, bytes, Mapping)) or not listed_values:
        return False
    listed = list(values)
    numbers = all(isinstance(value, Real) and not isinstance(value, bool) for value in listed)
    return len(listed) == count and numbers and all(map(math.isfinite, listed))


def shorten(value: Any) -> str:
    """Return a value for an error message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def _corners_problem(box: Any) -> str | None:
    if not are_numbers(box, 4):
        expected = "four finite numbers [x1, y1, x2, y2] in pixels of the original picture"
        return f"got {shorten(box)}, expected {expected}. Write the left top and the right bottom corner."
    left, top, right, bottom = box
    if right > left and bottom > top:
        return None
    return (
        f"got {shorten(box)}, expected x1 < x2 and y1 < y2. Write the left top corner first; "
        "[x, y, width, height] becomes [x, y, x + width, y + height]."
    )


def _size_problem(size: Any, name: str = "image_size") -> str | None:
    if are_numbers(size, 2) and min(size) > 0:
        return None
    return (
        f"`{name}`: got {shorten(size)}, expected (width, height) in pixels, both above 0. Pass Pillow's `image.size`."
    )


def _outside_problem(box: Box, image_size: Size, *, slack: float) -> str | None:
    (width, height), (left, top, right, bottom) = image_size, box
    over_width, over_height = slack * width, slack * height
    inside = left >= -over_width and right <= width + over_width
    if inside and top >= -over_height and bottom <= height + over_height:
        return None
    return (
        f"got {shorten(box)}, expected 0 <= x1 < x2 <= {width:g} and 0 <= y1 < y2 <= {height:g}, the size of the picture. "
        "Check that it is in pixels of the original picture; `regions.clamp_box` cuts what sticks out a little."
    )
