"""The plot beside the log of the Train tab: reward and loss of runs whose loss the host would leave out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .drawing import COLORS
from .reading import STEP, is_number
from .shaping import smooth


if TYPE_CHECKING:
    from matplotlib.figure import Figure


SMOOTHING = 0.6  # [ours]
DRAWN = ("reward", "loss")
Entries = Sequence[Mapping[str, Any]]


def is_ours(entries: Entries) -> bool:
    """Say whether the host's plot would miss something: a reward, or a loss of 0, which it takes for none."""
    return any(is_number(entry.get("reward")) or entry.get("loss") == 0 for entry in entries)


def small_plot(entries: Entries) -> "Figure":
    """Return a figure with one panel for each of reward and loss that has numbers, 0 among them.

    Args:
        entries: lines of `trainer_log.jsonl`, in order.
    """
    from matplotlib.figure import Figure  # no pyplot: several threads draw

    curves = {name: _points(entries, name) for name in DRAWN}
    there = {name: points for name, points in curves.items() if points}
    figure = Figure(figsize=(6.4, 2.4 * max(1, len(there))), layout="constrained")
    for number, (name, points) in enumerate(there.items(), start=1):
        axes = figure.add_subplot(len(there), 1, number)
        steps, values = [step for step, _ in points], [value for _, value in points]
        marker = "o" if len(points) == 1 else None
        axes.plot(steps, values, color=COLORS[0], alpha=0.4, marker=marker)
        axes.plot(steps, smooth(values, SMOOTHING), color=COLORS[0])
        axes.set_ylabel(name)
        axes.set_xlabel("step")
    return figure


def _points(entries: Entries, name: str) -> list[tuple[float, float]]:
    return [
        (entry[STEP], entry[name]) for entry in entries if is_number(entry.get(name)) and is_number(entry.get(STEP))
    ]
