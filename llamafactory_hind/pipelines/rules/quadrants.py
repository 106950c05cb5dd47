"""The helpful x confident table, the quantity HinD is about: counted, printed, saved and drawn."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any


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


def print_report(report: dict[str, Any]) -> None:
    """Print the rates and the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{report['quadrants']['samples']} sampled facts, share of all (count)")
    for heading in ("", "confident", "unsure"):
        table.add_column(heading, justify="left" if not heading else "right")
    shares, counts = report["quadrants"]["shares"], report["quadrants"]["counts"]
    for helpful, name in ((True, "helpful"), (False, "unhelpful")):
        corners = [CORNERS[helpful, confident] for confident in (True, False)]
        table.add_row(name, *(f"{shares[corner]:.1%} ({counts[corner]})" for corner in corners))
    console.print(table)
    console.print(
        f"helpful: greedy {report['greedy_helpful_rate']:.1%}, sampled {report['sampled_helpful_rate']:.1%}; "
        f"confident = above {report['quadrants']['threshold']:.3f} nats a token; "
        f"{report['pairs']} pairs from {report['rows']} rows (`pair_rule: {report['pair_rule']}`)"
    )


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
    figure.savefig(path, dpi=120)
