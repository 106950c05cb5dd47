"""The sweep of thresholds as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...storage.atomic import write_by


def plot_sweep(lines: Sequence[Mapping[str, Any]], scores: Sequence[float], path: Path) -> None:
    """Draw what each threshold keeps, with precision and recall where rows are rated, and the scores, into a PNG file.

    Args:
        lines: of `evaluation.binary.threshold_table`.
        scores: of acceptance.
        path: of the file.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    sweep, spread = figure.subplots(1, 2)
    for name, color in (("kept_share", "#4477aa"), ("precision", "#228833"), ("recall", "#cc6677")):
        points = [(line["threshold"], line[name]) for line in lines if line[name] is not None]
        if points:
            sweep.plot(*zip(*points, strict=True), marker="o", label=name.replace("_", " "), color=color)
    sweep.set(title="Threshold of the critic", xlabel="threshold", ylim=(-0.05, 1.05))
    sweep.legend()
    spread.hist(scores, bins=20, range=(0, 1), color="#4477aa")
    spread.set(title=f"Scores ({len(scores)} triples)", xlabel="score of acceptance", ylabel="triples")
    write_by(path, lambda file: figure.savefig(file, dpi=120))
