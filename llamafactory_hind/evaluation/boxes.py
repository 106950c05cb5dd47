"""Boxes in an answer beside the gold ones: the rule of `rewards.grounding` and of `metric: box_iou`."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..regions.conventions import get_convention
from ..regions.coordinates import parse_boxes
from ..regions.geometry import Box, box_area, box_iou


NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
# [x1, y1, x2, y2] or (x1, y1, x2, y2), also within JSON; (x1,y1),(x2,y2) as Qwen2-VL writes
BOX = re.compile(
    rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]|\({NUMBER},{NUMBER},{NUMBER},{NUMBER}\)"
    rf"|\({NUMBER},{NUMBER}\)\s*,?\s*\({NUMBER},{NUMBER}\)"
)


def read_boxes(text: str) -> list[tuple[float, ...]]:
    """Return the boxes of a text, each as (x1, y1, x2, y2), in its order."""
    return [tuple(float(number) for number in match.groups() if number is not None) for match in BOX.finditer(text)]


def box_reader(
    convention: str | None, image_size: Any = None, processed_size: Any = None
) -> Callable[[str], Sequence[Box]]:
    """Return what reads the boxes of a model's text.

    Args:
        convention: of `regions`; boxes then come in pixels of the original picture. None reads
            coordinates as they are.
        image_size: [width, height] of the original picture.
        processed_size: of the picture as fed, where the convention asks for it.

    Raises:
        ValueError: a convention that is none or writes points, or a size that is none.
    """
    if convention is None:
        return read_boxes
    read = partial(parse_boxes, convention=convention, image_size=image_size, processed_size=processed_size)
    read("")  # raises now what it would raise for every text
    if get_convention(convention).numbers == "point":
        raise ValueError(f"`convention`: got {convention!r}, which writes points, expected one that writes boxes.")
    return read


def pair_boxes(predicted: Sequence[Box], gold: Sequence[Box]) -> list[float]:
    """Return the IoU of each pair of boxes, taken greedily, the best overlap first; a box is in one pair at most."""
    overlaps = sorted(
        (-box_iou(box, other), row, column) for row, box in enumerate(predicted) for column, other in enumerate(gold)
    )
    rows: set[int] = set()
    taken: set[int] = set()
    found = []
    for negative, row, column in overlaps:
        if row not in rows and column not in taken:
            rows.add(row)
            taken.add(column)
            found.append(-negative)
    return found


def match_boxes(predicted: Sequence[Box], gold: Sequence[Box]) -> float:
    """Return the sum of IoU over greedily chosen pairs, divided by the larger number of boxes."""
    return sum(pair_boxes(predicted, gold)) / max(len(predicted), len(gold))


def gold_boxes(value: Any) -> list[Box]:
    """Return gold boxes, given as one or as a list.

    Raises:
        ValueError: it is neither; without the name of the field, which the caller knows.
    """
    boxes = value if isinstance(value, list) and value and isinstance(value[0], (list, tuple)) else [value]
    for box in boxes:
        numbers = isinstance(box, (list, tuple)) and len(box) == 4 and all(map(_is_finite, box))
        if not numbers or not box_area(box) > 0:
            expected = "four numbers x1 < x2, y1 < y2 as [x1, y1, x2, y2], or a list of such boxes"
            raise ValueError(f"got {box!r:.160}, expected {expected}.")
    return boxes


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
