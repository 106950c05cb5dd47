"""A reward for pointing: how well the boxes of an answer lie on the gold ones."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..regions.conventions import get_convention
from ..regions.coordinates import parse_boxes
from ..regions.geometry import Box, box_area
from ..regions.geometry import box_iou as overlap
from .columns import finite_number, gold_values, score_rows
from .errors import shorten
from .layout import answer_or_all


NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
# [x1, y1, x2, y2] or (x1, y1, x2, y2), also within JSON; (x1,y1),(x2,y2) as Qwen2-VL writes
BOX = re.compile(
    rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]|\({NUMBER},{NUMBER},{NUMBER},{NUMBER}\)"
    rf"|\({NUMBER},{NUMBER}\)\s*,?\s*\({NUMBER},{NUMBER}\)"
)


def box_iou(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return the IoU (shared area / covered area, 0..1) of the answer's boxes with the gold ones [ours].

    Boxes are read from the answer (between `<answer>` tags, else all of the completion): `[x1, y1,
    x2, y2]`, `(x1, y1, x2, y2)`, `(x1,y1),(x2,y2)`. Gold is one box or a list of them. Pairs are
    taken greedily, the best overlap first, and the sum of their IoU is divided by the larger
    number of boxes, so missing and surplus boxes cost; with one box each it is their IoU. No box
    scores 0. Where a row names a `convention` of `regions`, its boxes are read as that model
    writes them and compared in pixels of the original picture; else coordinates are compared as
    they are: ask for those of the gold column.

    Args:
        completions: texts.
        columns: `box` (four numbers) or `boxes` (a list of boxes); None where the reward does not
            apply. `convention` goes with `image_size` [width, height] of the original picture,
            `qwen2_5_vl` with `processed_size` of the picture as fed too.
    """
    golds = [_gold_boxes(field, value) for field, value in gold_values(columns, ("box", "boxes"), len(completions))]
    pairs = [None if gold is None else (gold, _reader(columns, row)) for row, gold in enumerate(golds)]
    return score_rows(completions, pairs, lambda text, pair: match_boxes(pair[1](answer_or_all(text)), pair[0]))


def read_boxes(text: str) -> list[tuple[float, ...]]:
    """Return the boxes of a text, each as (x1, y1, x2, y2), in its order."""
    return [tuple(float(number) for number in match.groups() if number is not None) for match in BOX.finditer(text)]


def match_boxes(predicted: Sequence[Box], gold: Sequence[Box]) -> float:
    """Return the sum of IoU over greedily chosen pairs, divided by the larger number of boxes."""
    overlaps = sorted(
        (-overlap(box, other), row, column) for row, box in enumerate(predicted) for column, other in enumerate(gold)
    )
    rows: set[int] = set()
    taken: set[int] = set()
    total = 0.0
    for negative, row, column in overlaps:
        if row not in rows and column not in taken:
            rows.add(row)
            taken.add(column)
            total -= negative
    return total / max(len(predicted), len(gold))


def _reader(columns: Mapping[str, Sequence[Any]], row: int) -> Callable[[str], Sequence[Box]]:
    """Return what reads the boxes of a row's completion."""
    fields = ("convention", "image_size", "processed_size")
    values: list[Any] = [columns[field][row] if field in columns else None for field in fields]
    convention, image_size, processed_size = values
    if convention is None:
        return read_boxes
    read = partial(parse_boxes, convention=convention, image_size=image_size, processed_size=processed_size)
    try:
        read("")  # a convention or size that is none raises
    except ValueError as error:
        raise ValueError(f"column {error}") from error
    if get_convention(convention).numbers == "point":
        raise ValueError(
            f"column `convention`: got {convention!r}, which writes points, expected one that writes boxes."
        )
    return read


def _gold_boxes(field: str, value: Any) -> list[Box] | None:
    if value is None:
        return None
    boxes = value if isinstance(value, list) and value and isinstance(value[0], (list, tuple)) else [value]
    for box in boxes:
        numbers = isinstance(box, (list, tuple)) and len(box) == 4 and all(map(finite_number, box))
        if not numbers or not box_area(box) > 0:
            expected = "four numbers x1 < x2, y1 < y2 as [x1, y1, x2, y2], or a list of such boxes"
            raise ValueError(f"column `{field}`: got {shorten(box)}, expected {expected}.")
    return boxes
