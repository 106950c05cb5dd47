"""The only HTML of our pages. Everything that comes from a file passes `escape`: texts, names of rewards, keys, captions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape as _escape
from typing import Any

from ...formats.boxes import row_boxes
from ..speech import tr
from .index import GATE
from .look import DASH, ORIGINS, STYLE, shade
from .pictures import Thumbnail
from .records import Record, by_name, parsed, prompt_text


SHOWN_LETTERS = 20_000  # [ours] of one text on a page


def escape(value: Any) -> str:
    """Return a value as text of a page, quotes and apostrophes included; a text that is very long is cut, which it says."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > SHOWN_LETTERS:
        text = text[:SHOWN_LETTERS] + tr(" … ({count} letters more)", count=len(text) - SHOWN_LETTERS)
    return _escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)


def number(value: Any, digits: str = ".4g") -> str:
    """Return a number, a dash where there is none: never 0."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return DASH
    return escape(format(value, digits))


def page(parts: Iterable[str], *, boxes: bool = True) -> str:
    """Return a whole page."""
    hidden = "" if boxes else " hc-noboxes"
    return f'{STYLE}<div class="hc{hidden}" data-hind="page">{"".join(parts)}</div>'


def line(text: str) -> str:
    """Return one line of plain text, one of ours in the language of the page."""
    return f'<p class="hc-line">{escape(tr(text))}</p>'


def figure(thumbnail: Thumbnail, boxes: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return a picture with boxes over it, in pixels of the original; a grey box with the reason where it is not shown."""
    name, why = escape(thumbnail.name), escape(tr(thumbnail.why))
    if not thumbnail.url:
        return f'<div class="hc-grey" role="img" aria-label="{name}: {why}">{name}<br>{why}</div>'
    boxes = boxes if thumbnail.boxed else ()
    told = f"{name}, {escape(tr('{count} boxes', count=len(boxes)))}" if boxes else name
    return (
        f'<figure class="hc-fig"><div><img src="{escape_url(thumbnail.url)}" alt="{told}">{_svg(thumbnail, boxes)}</div>'
        f"<figcaption>{name} · {thumbnail.width} x {thumbnail.height}</figcaption></figure>"
    )


def escape_url(url: str) -> str:
    """Return the address of one of our own pictures; anything else is refused.

    Raises:
        ValueError: it is no picture that `pictures` has encoded.
    """
    if not url.startswith("data:image/jpeg;base64,"):
        raise ValueError("A page shows nothing but pictures that were encoded for it.")
    return _escape(url, quote=True)


def _svg(thumbnail: Thumbnail, boxes: Sequence[Mapping[str, Any]]) -> str:
    if not boxes:
        return ""
    width = max(thumbnail.width, thumbnail.height) / 160
    drawn = []
    for place, entry in enumerate(boxes):
        x1, y1, x2, y2 = (float(value) for value in entry["box"])
        color = ORIGINS.get(str(entry.get("origin")), ORIGINS["row"])
        label = escape(entry.get("label") or "")
        told = f"{escape(tr(str(entry.get('origin', 'row'))))} {place}: {label} [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        drawn.append(
            f'<g><title>{told}</title><rect x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}" fill="transparent" '
            f'stroke="{color}" stroke-width="{width:.3g}"/></g>'
        )
    return (
        f'<svg viewBox="0 0 {thumbnail.width} {thumbnail.height}" preserveAspectRatio="none" '
        f'aria-hidden="false">{"".join(drawn)}</svg>'
    )


def boxes_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the boxes of a group, each once; runs of an earlier version have those of the row alone."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        entries = parsed(record, "boxes", [])
        if not entries and "boxes" not in record:
            pictures = parsed(record, "media", {}).get("images")
            entries = row_boxes(parsed(record, "columns", {}), pictures if isinstance(pictures, list) else [])
        for entry in entries:
            if _is_box(entry):
                found.setdefault(json.dumps(entry, sort_keys=True), entry)
    return list(found.values())


def _is_box(entry: Any) -> bool:
    box = entry.get("box") if isinstance(entry, dict) else None
    return isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) for one in box)


def media_block(thumbnails: Sequence[Thumbnail], boxes: Sequence[Mapping[str, Any]]) -> str:
    """Return the pictures of a prompt with their boxes, and a list of these."""
    if not thumbnails:
        return ""
    shown = [
        figure(one, [entry for entry in boxes if entry.get("image") == place]) for place, one in enumerate(thumbnails)
    ]
    small = " hc-small" if len(thumbnails) > 1 else ""
    return f'<div class="hc-media{small}">{"".join(shown)}{_box_list(boxes)}</div>'


def _box_list(boxes: Sequence[Mapping[str, Any]]) -> str:
    if not boxes:
        return ""
    rows = "".join(
        f"<tr><td>{escape(tr(str(entry.get('origin', ''))))}</td><td>{escape(entry.get('label') or DASH)}</td>"
        f"<td>{escape(', '.join(f'{float(value):g}' for value in entry['box']))}</td></tr>"
        for entry in boxes
    )
    heads = "".join(f"<th>{escape(title)}</th>" for title in (tr("from"), tr("label"), "x1, y1, x2, y2"))
    return fold(tr("boxes ({count})", count=len(boxes)), f"<table><tr>{heads}</tr>{rows}</table>")


def fold(title: str, inner: str) -> str:
    """Return a part that is folded; `inner` is HTML that was made here."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def pre(value: Any) -> str:
    """Return a text as it is, or a value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return f"<pre>{escape(text)}</pre>"


def link(text: str, **targets: str) -> str:
    """Return what sets fields of the page when it is clicked, such as `row` and `view`."""
    data = "".join(f' data-hind-{name}="{escape(value)}"' for name, value in targets.items())
    return f'<button type="button" class="hc-link"{data}>{escape(text)}</button>'


def card(
    records: Sequence[Record], thumbnails: Sequence[Thumbnail], *, hits: Sequence[bool], shade_by: str = "reward"
) -> str:
    """Return a group: its prompt with media, and all completions side by side.

    Args:
        records: of the group, those that are learnt from first.
        thumbnails: of the prompt.
        hits: which of them the filters pick.
        shade_by: column whose numbers are shaded.
    """
    first = records[0] if records else {}
    return (
        f'<article class="hc-card">{_head(records)}<div class="hc-body">{media_block(thumbnails, boxes_of(records))}'
        f'<div class="hc-text"><div class="hc-prompt">{escape(prompt_text(first))}</div>'
        f"{completions(records, hits=hits, shade_by=shade_by)}{_hints(first)}{_more(first)}</div></div></article>"
    )


def _head(records: Sequence[Record]) -> str:
    first = records[0] if records else {}
    row = str(first.get("row_id") or "")
    counts = [record.get("kept") is not False or record.get("split", "train") != "train" for record in records]
    rewards = [record.get("reward") for record, there in zip(records, counts, strict=True) if there]
    kept = [value for value in rewards if value is not None]
    mean = sum(kept) / len(kept) if kept else None
    spread = (sum((value - mean) ** 2 for value in kept) / len(kept)) ** 0.5 if kept and mean is not None else None
    answer = parsed(first, "columns", {}).get("answer")
    split = first.get("split", "train")
    parts = [
        ("" if split == "train" else f"{escape(split)}, ") + f"{escape(tr('step'))} {number(first.get('step'), 'd')}",
        f"{escape(tr('row'))} {escape(row)}",
        *([f"{escape(tr('answer'))} {escape(answer)}"] if isinstance(answer, str | int | float) else []),
        f"{escape(tr('mean'))} {number(mean)}, {escape(tr('std'))} {number(spread)}",
        link(tr("history of the row"), row=row, view="history"),
    ]
    return f'<div class="hc-head">{"".join(f"<span>{part}</span>" for part in parts)}</div>'


def completions(
    records: Sequence[Record], *, hits: Sequence[bool], shade_by: str = "reward", head: Sequence[str] = ()
) -> str:
    """Return a table of completions with every reward, advantage and gate; `head` are columns before them, by name."""
    rewards = by_name(records, "reward/")
    values = [record[shade_by] for record in records if isinstance(record.get(shade_by), int | float)]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    gated = any(GATE in record for record in records)
    titles = [
        *head,
        "sample",
        "source",
        "completion",
        *rewards,
        "reward",
        "advantage",
        *(["gate"] if gated else []),
        "tokens",
        "ended",
    ]
    numeric = {*rewards, "reward", "advantage", "tokens", "sample"}
    heads = "".join(
        f'<th scope="col"{_n(title in numeric)}>{escape(title if title in rewards else tr(title))}</th>'
        for title in titles
    )
    rows = "".join(
        _completion(record, rewards, gated, hit, shade(record.get(shade_by), low, high), shade_by, head)
        for record, hit in zip(records, hits, strict=True)
    )
    return f'<div class="hc-wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _completion(
    record: Record, rewards: Sequence[str], gated: bool, hit: bool, shading: str, shade_by: str, head: Sequence[str]
) -> str:
    kept = record.get("kept")
    note = "" if kept is not False or record.get("split", "train") != "train" else tr(" (passed over)")
    hint = parsed(record, "extra", {}).get("hint")
    hinted = fold(tr("hint"), pre(hint)) if hint else ""
    extra = {
        name: value for name, value in parsed(record, "extra", {}).items() if name != "hint" and value is not None
    }
    more = fold(tr("extra"), pre(extra)) if extra else ""

    def cell(name: str, value: Any, digits: str = ".4g") -> str:
        style = f' style="{shading}"' if name == shade_by and shading else ""
        return f'<td class="hc-n"{style}>{number(value, digits)}</td>'

    gate = record.get(GATE)
    cells = [
        *(f"<td>{escape(record.get(name, DASH))}</td>" for name in head),
        cell("sample", record.get("sample"), "d"),
        f"<td>{escape(record.get('source') or DASH)}{note}</td>",
        f'<td><div class="hc-answer">{escape(record.get("completion") or "")}</div>{hinted}{more}</td>',
        *(cell(f"reward/{name}", record.get(f"reward/{name}")) for name in rewards),
        cell("reward", record.get("reward")),
        cell("advantage", record.get("advantage"), "+.3f"),
        *(
            [f"<td>{DASH if gate is None or gate != gate else tr('open' if gate > 0 else 'closed')}</td>"]
            if gated
            else []
        ),
        cell("tokens", record.get("tokens"), "d"),
        f"<td>{escape(record.get('finish_reason') or DASH)}</td>",
    ]
    classes = " ".join(name for name, there in (("hc-hit", hit), ("hc-over", bool(note))) if there)
    return f'<tr class="{classes}">{"".join(cells)}</tr>'


def _n(numeric: bool) -> str:
    return ' class="hc-n"' if numeric else ""


def _hints(record: Record) -> str:
    """Return every hint that was tried for the prompt with its fate; also those that failed."""
    trials = [trial for trial in parsed(record, "hints", []) if isinstance(trial, dict)]
    if not trials:
        return ""
    rows = "".join(
        f'<tr><td class="hc-n">{number(trial.get("attempt"), "d")}</td><td>{escape(trial.get("fate", DASH))}</td>'
        f'<td><div class="hc-answer">{escape(trial.get("hint") or DASH)}</div></td></tr>'
        for trial in trials
    )
    heads = f'<th class="hc-n">{tr("attempt")}</th><th>{tr("fate")}</th><th>{tr("hint")}</th>'
    title = tr("hints that were tried ({count})", count=len(trials))
    return fold(title, f"<table><tr>{heads}</tr>{rows}</table>")


def _more(record: Record) -> str:
    parts = [fold(tr("prompt as the model read it"), pre(record["prompt"]))] if record.get("prompt") else []
    columns = parsed(record, "columns", {})
    parts += [fold(tr("columns of the row"), pre(columns))] if columns else []
    return "".join(parts)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """Return a table; titles are texts of ours, cells are HTML that was made here."""
    heads = "".join(
        f'<th scope="col"{_n(place in numeric)}>{escape(tr(title))}</th>' for place, title in enumerate(titles)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{_n(place in numeric)}>{cell}</td>' for place, cell in enumerate(cells))}</tr>"
        for cells in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
