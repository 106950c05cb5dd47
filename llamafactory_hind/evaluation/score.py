"""`llamafactory-cli score X.yaml [key=value ...]`: read, check, match, score, print, write."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config.command import split_names
from ..config.exits import stop
from ..config.problem import ConfigError
from ..formats.datasets import open_datasets
from ..storage.atomic import WriteRefused, write_json
from ..storage.files import write_rows
from ..storage.outputs import INFO, is_noted, output_problems, reading_problems, written
from .arguments import ScoreArguments, build_arguments, help_text, read_settings
from .matching import Question, collect_questions
from .metrics import get_metric, predicted_fields
from .predictions import final_answer
from .refusal import ScoreError
from .submissions import official_predictions
from .summary import INTERVAL, MetricScores, score_questions, summarize


OVER_GROUPS = {
    "mean_of_parts": "mean: {} parts",
    "mean_of_groups": "mean: {} groups",
    "mean_of_unseen_groups": "mean: {} unseen",
}
BY = "score"
SHOWN_FIELDS = ("answers", "choices", "correct_choice")


def run_score(argv: list[str]) -> None:
    """Run what the words after `score` ask for.

    Raises:
        SystemExit: with a message, where the configuration or the rows are wrong.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(help_text())
        return
    try:
        arguments = build_arguments(read_settings(argv))
        check_outputs(arguments)
        questions, unused = collect_questions(arguments)
        found = score_questions(questions, arguments)
        means = summarize(questions, found, arguments.group_by, arguments.seen)
        official = official_predictions(questions, arguments) if arguments.submission else None
        write_questions(questions, found, arguments)
        write_summary(means, len(questions), unused, arguments)
        if official is not None:
            with written(Path(str(arguments.submission)), by=BY) as temporary:
                write_json(temporary, official)
    except (ConfigError, ScoreError, WriteRefused) as error:
        stop("llamafactory-cli score", error)
    show(means, arguments)
    for line in warnings(means, unused, arguments):
        print(f"WARNING: {line}", file=sys.stderr)
    print(f"{arguments.summary_file}: the numbers. {arguments.questions_file}: {len(questions)} questions.")
    if official is not None:
        print(f"{arguments.submission}: {len(official)} predictions in the official form.")


def check_outputs(arguments: ScoreArguments) -> None:
    """Look at the files to write, before anything is scored.

    Raises:
        ConfigError: one is read by this command, or was written by something else.
    """
    outputs = [arguments.summary_file, arguments.questions_file]
    inputs: dict[str, list[Path]] = {"`predictions`": [Path(arguments.predictions)]}
    if arguments.dataset:
        inputs[INFO] = [Path(arguments.dataset_dir) / INFO]
        opened, _ = open_datasets(split_names(arguments.dataset), dataset_dir=arguments.dataset_dir)
        inputs |= {f"`dataset: {one.name}`": one.files() for one in opened}
    unnoted = [path for path in outputs if not is_noted(path) and _is_summary(arguments.summary_file)]
    problems = [*reading_problems("output", unnoted, inputs)]
    if arguments.submission:
        problems += output_problems("submission", [Path(arguments.submission)], inputs, by=BY)
    problems += output_problems("output", [path for path in outputs if path not in unnoted], inputs, by=BY)
    if problems:
        raise ConfigError(problems)


def _is_summary(path: Path) -> bool:
    """Whether a file is a summary of an earlier version, which noted nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"metrics", "interval", "settings"} <= content.keys()


def write_questions(
    questions: Sequence[Question], found: Mapping[str, MetricScores], arguments: ScoreArguments
) -> None:
    """Write one line a question: id, question, prediction, answer, references, group, scores and parts of each metric."""
    metrics = [get_metric(name) for name in found]
    needed = [part for metric in metrics for entry in metric.FIELDS for part in entry.split(" or ")]
    shown = dict.fromkeys([*SHOWN_FIELDS, *needed])
    scored = dict.fromkeys(name for metric in metrics for name in predicted_fields(metric))
    lines: list[dict[str, Any]] = []
    for index, question in enumerate(questions):
        text = question.prediction
        line: dict[str, Any] = {
            "id": question.id,
            "question": question.fields.get("question"),
            "prediction": text,
            "answer": None if text is None else final_answer(text, arguments.answer_pattern),
            "references": {name: question.fields[name] for name in shown if name in question.fields},
            "scores": {name: scores.scores[index] for name, scores in found.items()},
        }
        if scored:
            line["predicted"] = {name: (question.predicted or {}).get(name) for name in scored}
        if parts := {name: scores.parts[index] for name, scores in found.items() if scores.parts[index]}:
            line["parts"] = parts
        if arguments.group_by:
            line["group"] = question.fields.get(arguments.group_by)
        lines.append(line)
    write_rows(arguments.questions_file, lines, by=BY)


def write_summary(means: Mapping[str, dict[str, Any]], questions: int, unused: int, arguments: ScoreArguments) -> None:
    """Write the numbers with everything they depend on; scores are in 0..1."""
    content = {
        "metrics": {name: {"source": get_metric(name).SOURCE, **mean} for name, mean in means.items()},
        "interval": INTERVAL,
        "questions": questions,
        "unused_predictions": unused,
        "settings": asdict(arguments),
    }
    with written(arguments.summary_file, by=BY) as temporary:
        write_json(temporary, content)


def show(means: Mapping[str, dict[str, Any]], arguments: ScoreArguments) -> None:
    """Print the table: a line a metric, below it a line for each of its groups and for the means over groups."""
    table = Table(caption="interval: 95 %, normal, over questions")
    table.add_column(f"metric, by {arguments.group_by}" if arguments.group_by else "metric")
    for title in ("score %", "interval %", "questions", "dropped", "missing"):
        table.add_column(title, justify="right")
    for name, mean in means.items():
        dropped = sum(mean["dropped"].values())
        table.add_row(name, *_cells(mean), str(dropped), str(mean["missing"]))
        for group, part in [*mean.get("parts", {}).items(), *mean.get("groups", {}).items()]:
            table.add_row(f"  {group}", *_cells(part), "", "")
        for key, title in OVER_GROUPS.items():
            if key in mean:
                table.add_row(f"  {title.format(mean[key]['groups'])}", *_cells(mean[key]), "", "")
        table.add_section()
    Console(markup=False, highlight=False).print(table)


def _cells(mean: Mapping[str, Any]) -> tuple[str, str, str]:
    score, interval = mean["score"], mean["interval"]
    return (
        "-" if score is None else f"{100 * score:.2f}",
        "-" if interval is None else f"{100 * interval[0]:.2f} .. {100 * interval[1]:.2f}",
        str(mean["questions"]),
    )


def warnings(means: Mapping[str, dict[str, Any]], unused: int, arguments: ScoreArguments) -> Iterator[str]:
    """Yield what the reader of the table must know."""
    done = {"zero": "scored 0", "skip": "left out of the mean"}.get(arguments.missing, "")
    for name, mean in means.items():
        if mean["missing"]:
            yield f"{name}: {mean['missing']} questions have no prediction; they were {done} (missing: {arguments.missing})."
        for reason, count in mean["dropped"].items():
            yield f"{name}: {count} questions dropped: {reason}."
        for remark, count in mean["remarks"].items():
            yield f"{name}: {count} of {mean['questions']} questions: {remark}."
    if unused:
        yield f"{unused} predictions belong to no question of the dataset and were not used."
