"""What came of a job: datasets that `synth` registered, and the numbers of `score` as a table with a plot."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ...storage.dataset_info import file_of, read_info
from ...storage.outputs import same_file
from ..speech import tr


BAR = 240  # pixels of a score of 1
JOURNAL = ".journal.jsonl"


def registered(settings: Mapping[str, Any]) -> list[str]:
    """Return the names under which the output of a `synth` job stands in `dataset_info.json`."""
    folder = Path(settings.get("dataset_dir", "data"))
    output = Path(settings.get("output", ""))
    return [
        name
        for name, entry in read_info(folder).items()
        if output.name and (file := file_of(folder, entry)) is not None and same_file(file, output)
    ]


def kept_rows(settings: Mapping[str, Any]) -> int:
    """Return how many rows the journal of a `synth` job holds; a job that is started again does not do them again."""
    path = Path(settings.get("output", "")).with_suffix(JOURNAL) if settings.get("output") else None
    try:
        return 0 if path is None else path.read_bytes().count(b"\n")
    except OSError:
        return 0


def scores_page(summary: Path) -> str:
    """Return the numbers of a `score` job as HTML, with a bar for each; "" where there are none yet."""
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
        rows = list(_rows(content["metrics"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    lines = "".join(
        f"<tr><th scope='row' style='text-align:left;padding-left:{'2' if part else '0'}em'>{escape(name)}</th>"
        f"<td>{_percent(mean['score'])}</td><td>{_interval(mean.get('interval'))}</td>"
        f"<td>{mean['questions']}</td><td>{bar(mean['score'], mean.get('interval'))}</td></tr>"
        for name, mean, part in rows
    )
    titles = ("", tr("score"), tr("interval"), tr("questions"), tr("0 to 100"))
    head = f"<tr>{''.join(f'<th>{escape(title)}</th>' for title in titles)}</tr>"
    counts = {"count": content.get("questions", "–"), "interval": content.get("interval", "")}
    told = tr("{count} questions; interval: {interval}", **counts)
    return f'<table class="hind-scores"><caption>{escape(told)}</caption>{head}{lines}</table>'


def _rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield (name, numbers, whether it is a part of the one before)."""
    for name, mean in metrics.items():
        yield name, mean, False
        for part, numbers in {**mean.get("parts", {}), **mean.get("groups", {})}.items():
            yield str(part), numbers, True


def _percent(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.2f}"


def _interval(interval: Any) -> str:
    return "–" if not interval else f"{100 * interval[0]:.2f} .. {100 * interval[1]:.2f}"


def bar(score: float | None, interval: Any) -> str:
    """Return a score of 0..1 as a bar with a line for its interval, as SVG."""
    parts = [f'<rect width="{BAR}" height="14" fill="currentColor" opacity=".08"/>']
    if score is not None:
        parts.append(f'<rect width="{BAR * min(max(score, 0.0), 1.0):.1f}" height="14" fill="#0072b2"/>')
    if interval:
        low, high = (BAR * min(max(end, 0.0), 1.0) for end in interval)
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7" stroke="#d55e00" stroke-width="2"/>')
    title = f"<title>{_percent(score)}</title>"
    return f'<svg viewBox="0 0 {BAR} 14" width="{BAR}" height="14" role="img">{title}{"".join(parts)}</svg>'
