"""The page of curves: panels with their remarks and tables, and one line that says how far each run is. Text alone, all escaped."""

import time
from collections.abc import Iterator, Mapping
from html import escape

from ..speech import tr
from .drawing import AXES, draw_panel
from .panels import Panel, panels_of
from .reading import RunLog
from .shaping import smooth


TABLE_ROWS = 12  # [ours]
QUIET = 120.0  # [ours] seconds without a line after which a run is no longer said to be running
STYLE = """<style>
#hind_curves_jump { position: absolute !important; left: -9999px !important; width: 1px !important; height: 1px !important;
  overflow: hidden !important; }
.hind-curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 12px; }
.hind-curves figure { margin: 0; padding: 8px; border: 1px solid var(--border-color-primary); border-radius: 6px;
  color: var(--body-text-color); overflow-x: auto; }
.hind-curves svg { width: 100%; height: auto; }
.hind-curves .wrong { color: var(--error-text-color, #b00020); font-weight: 600; margin: 4px 0; }
.hind-curves svg polyline, .hind-curves svg circle { pointer-events: none; }
.hind-curves svg { cursor: pointer; }
.hind-curves button { background: none; border: 0; padding: 0; font: inherit; cursor: pointer; text-decoration: underline;
  color: var(--link-text-color, #0072b2); }
.hind-curves table { font-size: 12px; border-collapse: collapse; width: 100%; }
.hind-curves th, .hind-curves td { text-align: right; padding: 1px 6px; border-bottom: 1px solid var(--border-color-primary); }
</style>"""


def curves_page(logs: Mapping[str, RunLog], *, smoothing: float, axis: str, tables: bool) -> str:
    """Return the panels of some runs as HTML.

    Args:
        logs: name of the run -> its log.
        smoothing: see `shaping.smooth`.
        axis: one of `drawing.AXES`.
        tables: show the numbers beside each panel.
    """
    figures = []
    for panel in panels_of(logs):
        remarks = "".join(f'<p class="wrong">⚠ {escape(remark)}</p>' for remark in panel.remarks)
        table = panel_table(panel, logs, smoothing) if tables else ""
        figures.append(
            f"<figure>{draw_panel(panel, logs, smoothing=smoothing, axis=axis)}"
            f"<figcaption>{remarks}</figcaption>{table}</figure>"
        )
    told = escape(tr("A click on a point opens the completions of its step."))
    return f'{STYLE}<p>{told}</p><div class="hind-curves">{"".join(figures)}</div>'


def panel_table(panel: Panel, logs: Mapping[str, RunLog], smoothing: float) -> str:
    """Return the numbers of a panel as a table: steps down, curves across; the first, the last, and some between."""
    curves, run_of = [], {}
    for run, log in logs.items():
        for metric in panel.metrics:
            if (series := log.series.get(metric)) is not None and series.values:
                values = smooth(series.values, smoothing)
                label = metric if len(logs) == 1 else f"{run}: {metric}"
                curves.append((label, dict(zip(series.steps, values, strict=True))))
                run_of = {**dict.fromkeys(series.steps, run), **run_of}
    steps = sorted({step for _, points in curves for step in points})
    places = sorted({round(place * (len(steps) - 1) / (TABLE_ROWS - 1)) for place in range(TABLE_ROWS)})
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label, _ in curves)
    rows = "".join(
        f'<tr><th scope="row">{_link(run_of[steps[place]], steps[place])}</th>'
        + "".join(f"<td>{_cell(points.get(steps[place]))}</td>" for _, points in curves)
        + "</tr>"
        for place in places
    )
    title, step = escape(tr(panel.title)), escape(tr("step"))
    return f'<table><caption>{title}</caption><tr><th scope="col">{step}</th>{head}</tr>{rows}</table>'


def _link(run: str, step: float) -> str:
    """Return the step as what opens its completions: the way of the keyboard, as a click on a point is that of the mouse."""
    title = escape(tr("completions of this step"))
    data = f'data-hind-run="{escape(run)}" data-hind-step="{step:.12g}" title="{title}"'
    return f'<button type="button" {data}>{step:g}</button>'


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def status_line(logs: Mapping[str, RunLog], now: float | None = None) -> str:
    """Return how far each run is, as HTML.

    Args:
        logs: name of the run -> its log, read.
        now: seconds since the epoch; None takes the clock.
    """
    now = time.time() if now is None else now
    lines = [f"<b>{escape(run)}</b>: {'; '.join(_status(log, now))}" for run, log in logs.items()]
    return f'<div role="status" aria-live="polite">{"<br>".join(lines)}</div>'


def _status(log: RunLog, now: float) -> Iterator[str]:
    step = log.last_step
    if step is None:
        yield tr("no line yet")
        return
    ended = log.total is not None and step >= log.total
    quiet = now - log.changed > QUIET
    yield tr("finished" if ended else "no line for some time" if quiet else "● running")
    whole = log.total
    yield tr("step {step:g}", step=step) if whole is None else tr("step {step:g} of {all}", step=step, all=whole)
    pace = log.seconds_a_step()
    if pace is not None:
        yield tr("{pace:.3g} s a step", pace=pace)
    if log.resumed:
        yield tr("resumed at {step}", step=", ".join(map(str, log.resumed)))
    if log.unreadable:
        yield tr("{count} lines cannot be read", count=log.unreadable)


def axes() -> tuple[str, ...]:
    """Return what may stand below the curves."""
    return AXES
