"""`metric: box_iou`: boxes in an answer against gold ones, for referring expressions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...formats.fields import is_missing
from ...formats.texts.layout import answer_or_all
from ...regions.geometry import Box
from ..arguments import ScoreArguments
from ..boxes import box_reader, gold_boxes, pair_boxes
from . import Scored


SUMMARY = (
    "boxes: share with IoU >= 0.5, and the mean IoU; boxes are paired greedily, missing and surplus boxes lower both"
)
SOURCE = "QwenLM/Qwen-VL eval_mm/evaluate_grounding.py for one box; several boxes are ours"
FIELDS = ("box or boxes",)
PARTS = ("mean_iou",)
BESIDE = ("label",)
ENOUGH = 0.5


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the boxes in <answer> tags, else of the whole text, against `box` or `boxes`.

    A row with `convention`, `image_size` and (for `qwen2_5_vl`) `processed_size` has its boxes read as that model writes
    them, and compared in pixels of the original picture; otherwise coordinates are compared as they are. With `box_gold: label`
    gold boxes are those of the host's label, in the numbers of the model: IoU is the same in any scale, up to the rounding of
    the model's grid [ours].

    Raises:
        ValueError: the gold boxes are not four numbers each, a convention or size is none, or a label has no box.
    """
    read = box_reader(*(fields.get(name) for name in ("convention", "image_size", "processed_size")))
    gold = _labelled(fields, read) if arguments.box_gold == "label" else _stored(fields)
    predicted = read(answer_or_all(prediction))
    overlaps = pair_boxes(predicted, gold)
    larger = max(len(predicted), len(gold))
    right = sum(overlap >= ENOUGH for overlap in overlaps) / larger
    remark = None if predicted else "no box could be read, scored 0"
    return Scored(right, remark, {"mean_iou": sum(overlaps) / larger})


def _stored(fields: Mapping[str, Any]) -> Sequence[Box]:
    field = "boxes" if is_missing(fields.get("box")) else "box"
    try:
        return gold_boxes(fields[field])
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _labelled(fields: Mapping[str, Any], read: Callable[[str], Sequence[Box]]) -> Sequence[Box]:
    label = fields.get("predicted_label")
    found = read(answer_or_all(label)) if isinstance(label, str) else []
    if not found:
        raise ValueError(
            f"label: got {label!r:.160}, expected a text with a box, as the host's `do_predict` writes it."
        )
    return found
