"""A panel as SVG, made of text alone: no script, no style from outside, every name escaped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..speech import tr
from .panels import Panel
from .reading import RunLog, Series
from .shaping import Points, along, smooth, thin_out


WIDTH, HEIGHT = 520, 260  # without the legend, which stands below
LINE = 16  # of the legend
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 28, 34
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#7f7f7f",
)  # Okabe and Ito: told apart by all
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # of the runs, beside the colour of the metric
TICKS = 4
AXES = ("step", "tokens", "seconds")


@dataclass(frozen=True)
class Curve:
    """A curve as it is drawn.

    Attributes:
        label: in the legend.
        points: x, y.
        steps: of the points, whatever x is; a click says which one.
        run: whose they are.
        color: of the metric.
        dash: of the run.
    """

    label: str
    points: Points
    steps: Sequence[float]
    run: str
    color: str
    dash: str


def draw_panel(panel: Panel, logs: Mapping[str, RunLog], *, smoothing: float = 0.0, axis: str = "step") -> str:
    """Return the SVG of a panel: a colour a metric, a dash a run; a curve that begins late begins late.

    Args:
        panel: what is drawn.
        logs: name of the run -> its log.
        smoothing: see `shaping.smooth`.
        axis: one of `AXES`.

    Raises:
        ValueError: another axis.
    """
    if axis not in AXES:
        raise ValueError(f"axis: got {axis!r}, expected one of {', '.join(AXES)}.")
    curves: list[Curve] = []
    for number, (run, log) in enumerate(logs.items()):
        for place, metric in enumerate(panel.metrics):
            points = _points(log, metric, smoothing, axis)
            if points:
                label = metric if len(logs) == 1 else f"{run}: {metric}"
                steps = _steps(log, points, axis)
                color, dash = COLORS[place % len(COLORS)], DASHES[number % len(DASHES)]
                curves.append(Curve(label, points, steps, run, color, dash))
    marks = [step for log in logs.values() for step in log.resumed] if axis == "step" else []
    return _svg(tr(panel.title), curves, marks, axis)


def _points(log: RunLog, metric: str, smoothing: float, axis: str) -> Points:
    series = log.series.get(metric)
    if series is None:
        return []
    other = _other(log, axis)
    values = smooth(series.values, smoothing)
    return thin_out(along(series.steps, values, None if other is None else (other.steps, other.values)))


def _other(log: RunLog, axis: str) -> Series | None:
    return {"step": None, "tokens": log.tokens, "seconds": log.seconds}[axis]


def _steps(log: RunLog, points: Points, axis: str) -> list[float]:
    """Return the step of each point; where two steps have the same x, it is the later one."""
    other = _other(log, axis)
    if other is None:
        return [x for x, _ in points]
    known = dict(zip(other.values, other.steps, strict=True))
    return [known[x] for x, _ in points]


def _svg(title: str, curves: Sequence[Curve], marks: Sequence[float], axis: str) -> str:
    xs = [x for curve in curves for x, _ in curve.points] or [0.0]
    ys = [y for curve in curves for _, y in curve.points] or [0.0]
    scale = Scale(padded(min(xs), max(xs), 0.0), padded(min(ys), max(ys), 0.05))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + LINE * len(curves)}" role="img" fill="currentColor" '
        f'font-size="11" font-family="sans-serif"><title>{escape(title)}</title>',
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
        *scale.grid(axis),
        *(scale.mark(step) for step in marks if scale.x[0] <= step <= scale.x[1]),
        *(scale.curve(curve) for curve in curves),
        *_legend(curves),
    ]
    return "".join([*parts, "</svg>"])


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    """Return a range that is never empty, with room on both sides."""
    room = (high - low) * share or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    return low - room, high + room


class Scale:
    """From numbers to places in the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Keep the ranges, neither of them empty."""
        self.x, self.y = x, y

    def place(self, x: float, y: float) -> str:
        """Return `px,py`."""
        px = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        py = HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        return f"{px:.1f},{py:.1f}"

    def grid(self, axis: str) -> list[str]:
        """Return lines and numbers of both axes."""
        parts = []
        for value in ticks(*self.y):
            py = self.place(self.x[0], value).partition(",")[2]
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py}" y2="{py}" stroke="currentColor" opacity=".15"/>'
            )
            parts.append(
                f'<text x="{LEFT - 6}" y="{py}" text-anchor="end" dominant-baseline="middle">{value:.4g}</text>'
            )
        for value in ticks(*self.x):
            px = self.place(value, self.y[0]).partition(",")[0]
            parts.append(f'<text x="{px}" y="{HEIGHT - 18}" text-anchor="middle">{value:.6g}</text>')
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" opacity=".7">{escape(tr(axis))}</text>'
        )
        return parts

    def mark(self, step: float) -> str:
        """Return the line where a run was resumed."""
        px = self.place(step, self.y[0]).partition(",")[0]
        line = f'<line x1="{px}" x2="{px}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="currentColor" stroke-dasharray="1 3">'
        return f"{line}<title>{escape(tr('resumed at {step}', step=f'{step:g}'))}</title></line>"

    def curve(self, curve: Curve) -> str:
        """Return a line, or a dot where there is one point alone, with the steps that a click looks up."""
        steps = " ".join(f"{step:.12g}" for step in curve.steps)
        told = f'data-hind-run="{escape(curve.run)}" data-hind-steps="{steps}"'
        if len(curve.points) == 1:
            px, py = self.place(*curve.points[0]).split(",")
            return f'<circle cx="{px}" cy="{py}" r="3" fill="{curve.color}" {told}/>'
        path = " ".join(self.place(x, y) for x, y in curve.points)
        dashes = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
        return f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="1.5"{dashes} {told}/>'


def ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Return round numbers in a range, about `count` of them."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts = []
    for number, curve in enumerate(curves):
        y = HEIGHT + LINE * number + 10
        dashes = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
        ends = f'x1="{LEFT + 8}" x2="{LEFT + 28}" y1="{y - 4}" y2="{y - 4}"'
        parts.append(f'<line {ends} stroke="{curve.color}" stroke-width="2"{dashes}/>')
        parts.append(f'<text x="{LEFT + 34}" y="{y}">{escape(curve.label)} {curve.points[-1][1]:.4g}</text>')
    return parts
