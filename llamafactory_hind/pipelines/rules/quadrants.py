"""The helpful x confident table, the quantity HinD is about: counted and drawn."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ...storage.atomic import write_by
from .pairing import Fact


CORNERS = {
    (True, True): "helpful, confident",
    (True, False): "helpful, unsure",
    (False, True): "unhelpful, confident",
    (False, False): "unhelpful, unsure",
}


def count_quadrants(points: Sequence[tuple[bool, float]], *, threshold: float | None) -> dict[str, Any]:
    """Count (helpful, confidence) points.

    Args:
        points: one a sampled text; the same text counts as often as it was sampled.
        threshold: confident is above this mean log-probability a token; null is the median of the points [ours].

    Returns:
        `threshold`, `samples` and, for each corner, `counts` and `shares` (0..1).
    """
    if threshold is None:
        threshold = median(confidence for _, confidence in points) if points else 0.0
    counts = dict.fromkeys(CORNERS.values(), 0)
    for helpful, confidence in points:
        counts[CORNERS[helpful, confidence > threshold]] += 1
    total = max(len(points), 1)
    shares = {corner: count / total for corner, count in counts.items()}
    return {"threshold": threshold, "samples": len(points), "counts": counts, "shares": shares}


def count_facts(rows: Sequence[Sequence[Fact]], *, threshold: float | None) -> dict[str, Any]:
    """Count the facts of all rows.

    Args:
        rows: of each question, the greedy fact and the sampled ones.
        threshold: as in `count_quadrants`.

    Returns:
        `greedy_helpful_rate` and `sampled_helpful_rate` (0..1), `unusable_samples`, and `quadrants` of the sampled facts.
    """
    sampled = [fact for _, *facts in rows for fact in facts]
    return {
        "greedy_helpful_rate": sum(greedy.helpful for greedy, *_ in rows) / max(len(rows), 1),
        "sampled_helpful_rate": sum(fact.helpful for fact in sampled) / max(len(sampled), 1),
        "unusable_samples": sum(not fact.usable for fact in sampled),
        "quadrants": count_quadrants([(fact.helpful, fact.confidence) for fact in sampled], threshold=threshold),
    }


def plot_report(report: dict[str, Any], path: Path) -> None:
    """Draw the helpful rates and the quadrants into a PNG file."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, corners = figure.subplots(1, 2)
    values = [report["greedy_helpful_rate"], report["sampled_helpful_rate"]]
    rates.bar_label(rates.bar(["greedy", "sampled"], values, color=["#4477aa", "#66ccee"]), fmt="{:.1%}")
    rates.set(title="Helpful knowledge", ylim=(0, 1.1), ylabel="share of texts")
    shares = report["quadrants"]["shares"]
    grid = [[shares[CORNERS[helpful, confident]] for confident in (False, True)] for helpful in (True, False)]
    corners.imshow(grid, cmap="Blues", vmin=0, vmax=1)
    corners.set_xticks([0, 1], ["unsure", "confident"])
    corners.set_yticks([0, 1], ["helpful", "unhelpful"])
    corners.set_title(f"Sampled texts ({report['quadrants']['samples']})")
    for row in (0, 1):
        for column in (0, 1):
            dark = grid[row][column] > 0.5
            corners.text(column, row, f"{grid[row][column]:.1%}", ha="center", va="center", color="w" if dark else "k")
    write_by(path, lambda file: figure.savefig(file, dpi=120))
