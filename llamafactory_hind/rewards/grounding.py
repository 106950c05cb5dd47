"""A reward for pointing: how well the boxes of an answer lie on the gold ones."""

from collections.abc import Sequence
from typing import Any

from ..evaluation.boxes import gold_boxes, match_boxes, read_boxes
from ..formats.texts.layout import answer_or_all
from ..regions.geometry import Box
from .columns import gold_values, score_rows


def box_iou(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return the IoU (shared area / covered area, 0..1) of the answer's boxes with the gold ones [ours].

    Boxes are read from the answer (between `<answer>` tags, else all of the completion): `[x1, y1, x2, y2]`,
    `(x1, y1, x2, y2)`, `(x1,y1),(x2,y2)`. Gold is one box or a list of them. Pairs are taken greedily, the best overlap first,
    and the sum of their IoU is divided by the larger number of boxes, so missing and surplus boxes cost; with one box each it
    is their IoU. No box scores 0. Coordinates are compared as they are: ask in the prompt for those of the gold column.

    Args:
        completions: texts.
        columns: `box` (four numbers) or `boxes` (a list of boxes); None where the reward does not apply.
    """
    golds = [_gold_boxes(field, value) for field, value in gold_values(columns, ("box", "boxes"), len(completions))]
    return score_rows(completions, golds, lambda text, gold: match_boxes(read_boxes(answer_or_all(text)), gold))


def _gold_boxes(field: str, value: Any) -> list[Box] | None:
    try:
        return None if value is None else gold_boxes(value)
    except ValueError as error:
        raise ValueError(f"column `{field}`: {error}") from None
