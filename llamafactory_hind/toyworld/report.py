"""What the demo's steps changed, as tables, readable rows and one picture."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .chain import accuracies


PHASES = ("before", "after")


def print_report(work: Path, methods: Mapping[str, str], console: Console) -> list[Path]:
    """Print all tables and draw them.

    Args:
        work: the demo's folder.
        methods: name of an `answers_<name>.json` -> what to call it.
        console: where to print.

    Returns:
        Pictures, those of training included.
    """
    found = {name: read(work / f"knowledge_{name}.quadrants.json") for name in PHASES}
    scores = {title: accuracies(work / f"answers_{name}.json") for name, title in methods.items()}
    console.print(_seen(read(work / "base" / "accuracy.json")["accuracy"]))
    console.print(_hindsight(read(work / "written.report.json")))
    console.print(_quadrants(found))
    console.print(f"confident = above {found['before']['quadrants']['threshold']:.3f} nats a token, the median before")
    console.print(_answers(scores))
    console.print(_rows(read(work / "answers_hdft.json"), read(work / "answers_kepo.json")))
    draw(found, scores, work / "demo.png")
    return [work / "demo.png", *sorted((work / "kepo").glob("*.png")), *sorted(work.glob("*.quadrants.png"))]


def read(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def plain_table(title: str | None, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table whose first column stands left and whose others stand right."""
    table = _table(title, *headings)
    for row in rows:
        table.add_row(*row)
    return table


def _table(title: str | None, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _seen(accuracy: Mapping[str, float]) -> Table:
    rows = [(kind, f"{value:.1%}") for kind, value in accuracy.items()]
    return plain_table("What the base checkpoint can do (held-out pictures)", ("question", "accuracy"), rows)


def _hindsight(report: Mapping[str, Any]) -> Table:
    rows = [("kept", report["kept"]), *((f"dropped: {reason}", count) for reason, count in report["dropped"].items())]
    title = f"Hindsight written for {report['rows']} rows"
    return plain_table(title, ("", "rows"), [(name, str(count)) for name, count in rows])


def _quadrants(found: Mapping[str, Any]) -> Table:
    table = _table("Knowledge on held-out pictures, before and after KEPO", "", *PHASES)
    for title, key in (("helpful, greedy", "greedy_helpful_rate"), ("helpful, sampled", "sampled_helpful_rate")):
        table.add_row(title, *(f"{found[phase][key]:.1%}" for phase in PHASES))
    table.add_section()
    for corner in found["before"]["quadrants"]["shares"]:
        table.add_row(corner, *(f"{found[phase]['quadrants']['shares'][corner]:.1%}" for phase in PHASES))
    return table


def _answers(scores: Mapping[str, Mapping[str, tuple[float, int]]]) -> Table:
    groups = list(next(iter(scores.values())))
    counts = [next(iter(scores.values()))[group][1] for group in groups]
    headings = [f"{group} ({count})" for group, count in zip(groups, counts, strict=True)]
    table = _table("VQA accuracy of answers, held-out pictures", "", *headings)
    for title, score in scores.items():
        table.add_row(title, *(f"{score[group][0]:.1%}" for group in groups))
    return table


def _rows(before: list[dict[str, Any]], after: list[dict[str, Any]], *, shown: int = 3) -> Table:
    """Questions about new facts that KEPO put right, then any others; a person can read what happened."""
    pairs = [pair for pair in zip(before, after, strict=True) if not pair[0]["asked_in_training"]]
    pairs.sort(
        key=lambda pair: (pair[1]["prediction"] != pair[1]["answer"], pair[0]["prediction"] == pair[0]["answer"])
    )
    table = Table(title="How some were answered", title_justify="left", show_lines=True)
    for heading in ("question, gold answer", "reasoning", "HDFT: knowledge -> vote", "KEPO: knowledge -> vote"):
        table.add_column(heading)
    for old, new in pairs[:shown]:
        table.add_row(f"{new['question']}\n[bold]{new['answer']}[/]", new["written_cot"], _voted(old), _voted(new))
    return table


def _voted(row: Mapping[str, Any]) -> str:
    texts = [piece["text"] for piece in row["written_knowledge"]]
    lines = [f"{texts.count(text)} x {text}" for text in sorted(set(texts), key=texts.count, reverse=True)[:3]]
    return "\n".join([*lines, f"[bold]{row['prediction']}[/] ({row['vote_share']:.0%})"])


def draw(found: Mapping[str, Any], scores: Mapping[str, Mapping[str, tuple[float, int]]], path: Path) -> None:
    """Draw helpful rates, quadrants and answer accuracies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    rates, corners, answers = figure.subplots(1, 3, width_ratios=[1, 1.8, 2.2])
    for shift, (phase, color) in enumerate(zip(PHASES, ("#bbbbbb", "#4477aa"), strict=True)):
        values = [found[phase]["greedy_helpful_rate"], found[phase]["sampled_helpful_rate"]]
        rates.bar([place + 0.38 * shift for place in range(2)], values, 0.36, label=f"{phase} KEPO", color=color)
        shares = found[phase]["quadrants"]["shares"]
        corners.bar([place + 0.38 * shift for place in range(4)], list(shares.values()), 0.36, color=color)
    rates.set_xticks([0.19, 1.19], ["greedy", "sampled"])
    rates.set(title="Helpful knowledge", ylim=(0, 1.05))
    rates.legend(frameon=False, loc="upper left")
    corners.set_xticks(
        [place + 0.19 for place in range(4)],
        [corner.replace(", ", ",\n") for corner in found["before"]["quadrants"]["shares"]],
    )
    corners.set(title="Sampled knowledge", ylim=(0, 1.05))
    names = [title.partition(":")[0] for title in scores]
    for shift, (group, color) in enumerate((("all", "#bbbbbb"), ("new facts", "#4477aa"))):
        values = [score[group][0] for score in scores.values()]
        answers.bar([place + 0.38 * shift for place in range(len(names))], values, 0.36, label=group, color=color)
    answers.set_xticks([place + 0.19 for place in range(len(names))], [name.replace(" ", "\n", 1) for name in names])
    answers.set(title="VQA accuracy of answers", ylim=(0, 1.05))
    answers.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=120)
