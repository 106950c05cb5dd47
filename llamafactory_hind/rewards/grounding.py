"""A reward for pointing: how well the boxes of an answer lie on the gold ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..evaluation.boxes import box_reader, gold_boxes, match_boxes
from ..formats.texts.layout import answer_or_all
from ..regions.geometry import Box
from .columns import gold_values, score_rows


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


def _reader(columns: Mapping[str, Sequence[Any]], row: int) -> Callable[[str], Sequence[Box]]:
    """Return what reads the boxes of a row's completion."""
    fields = ("convention", "image_size", "processed_size")
    values: list[Any] = [columns[field][row] if field in columns else None for field in fields]
    try:
        return box_reader(*values)
    except ValueError as error:
        raise ValueError(f"column {error}") from error


def _gold_boxes(field: str, value: Any) -> list[Box] | None:
    try:
        return None if value is None else gold_boxes(value)
    except ValueError as error:
        raise ValueError(f"column `{field}`: {error}") from None


REWARDS = {"box_iou": box_iou}
