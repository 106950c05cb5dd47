"""HTML of what a `synth` pipeline made."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...formats.boxes import row_boxes
from ..speech import tr
from .look import DASH
from .pictures import PictureReader, frames_of
from .render import escape, fold, media_block, number, pre, table
from .synthesis import Item, facts, quadrant


FIRST = (  # fields that are shown before the others, in this order
    *("question", "choices", "answer", "prediction", "rationale", "critic", "chosen", "rejected", "hint"),
    *("cot", "knowledge", "reasoning", "reasoning_unrefined", "deleted", "external", "attempts", "error"),
)
ASIDE = ("id", "images", "videos", "audios", "reason", "provenance", "greedy", "samples", "fields")


def report_block(report: Mapping[str, Any]) -> str:
    """Return the numbers of a report, its quadrants as a table of two by two."""
    if not report:
        return ""
    quadrants = report.get("quadrants")
    shown = _corners(quadrants) if isinstance(quadrants, dict) else ""
    return shown + fold(tr("report"), pre({name: value for name, value in report.items() if name != "provenance"}))


def _corners(quadrants: Mapping[str, Any]) -> str:
    counts, shares = (
        quadrants.get(name) if isinstance(quadrants.get(name), dict) else {} for name in ("counts", "shares")
    )

    def cell(name: str) -> str:
        return f"{number(counts.get(name), 'd')} ({number(shares.get(name), '.1%')})"

    rows = [
        [escape(tr(helpful)), *(cell(f"{helpful}, {sure}") for sure in ("unsure", "confident"))]
        for helpful in ("helpful", "unhelpful")
    ]
    return table(["sampled facts", "unsure", "confident"], rows, numeric=(1, 2))


def item_card(item: Item, pictures: PictureReader, threshold: float | None) -> str:
    """Return one row or text: its state and reason, its media with boxes, its fields."""
    inner = item.fields.get("fields")  # a row that failed has its own fields there
    fields = {**inner, **item.fields} if isinstance(inner, dict) else dict(item.fields)
    media = {kind: _as_list(fields.get(kind)) for kind in ("images", "videos")}
    thumbnails = frames_of(pictures, media)
    head = f"<span>{escape(tr(item.state))}</span>" + "".join(
        f"<span>{escape(text)}</span>" for text in (item.row_id, item.reason) if text
    )
    return (
        f'<article class="hc-card"><div class="hc-head">{head}</div><div class="hc-body">'
        f'{media_block(thumbnails, row_boxes(fields, media["images"]))}<div class="hc-text">'
        f"{_fields(fields)}{_facts(item, threshold)}{_samples(item)}{_rest(fields)}</div></div></article>"
    )


def _fields(fields: Mapping[str, Any]) -> str:
    rows = [[escape(name), _value(fields[name])] for name in FIRST if fields.get(name) not in (None, "", [])]
    return table(["field", "value"], rows) if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "".join(f'<div class="hc-answer">{escape(one)}</div>' for one in value)
    if isinstance(value, str | int | float):
        return f'<div class="hc-answer">{escape(value)}</div>'
    return pre(value)


def _facts(item: Item, threshold: float | None) -> str:
    found = [fact for fact in facts(item) if "confidence" in fact]
    if not found:
        return ""
    rows = [
        [
            tr("greedy" if fact is item.fields.get("greedy") else "sampled"),
            f'<div class="hc-answer">{escape(fact.get("text", DASH))}</div>',
            number(fact.get("confidence")),
            tr({True: "yes", False: "no"}.get(fact.get("helpful"), DASH)),  # type: ignore[call-overload]
            escape(tr(quadrant(fact, threshold) or DASH)),
        ]
        for fact in found
    ]
    return table(["fact", "text", "confidence", "helpful", "quadrant"], rows, numeric=(2,))


def _samples(item: Item) -> str:
    samples = item.fields.get("samples")
    if not isinstance(samples, list) or (facts(item) and "confidence" in facts(item)[0]):
        return ""
    rows = [
        [escape(one.get("reason") or DASH), f'<div class="hc-answer">{escape(one.get("text", DASH))}</div>']
        for one in samples
        if isinstance(one, dict)
    ]
    return table(["reason", "text"], rows) if rows else ""


def _rest(fields: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in fields.items() if name not in (*FIRST, *ASIDE)}
    parts = [fold(tr("other fields"), pre(rest))] if rest else []
    parts += [fold(tr("written by"), pre(fields["provenance"]))] if fields.get("provenance") else []
    return "".join(parts)


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value in (None, "") else [value]
