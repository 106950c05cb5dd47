"""The keys of `llamafactory-cli score`, and how they are read and checked."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..config import command
from ..config.command import join_lists, split_names
from ..config.problem import ConfigError, Problem
from ..config.types import describe, fits, nearest
from .metrics import get_metric, metric_names, predicted_fields


USAGE = "llamafactory-cli score X.yaml [key=value ...]   (X.json works as well; --help lists the keys)"
PREDICTION_SUFFIXES = (".json", ".jsonl")


@dataclass(kw_only=True)
class ScoreArguments:
    """The keys of `score`."""

    metric: str = field(default="", metadata={"help": "Metrics, a list or separated by commas; required."})
    predictions: str = field(
        default="",
        metadata={
            "help": (
                "File of predictions, .json or .jsonl: the host's generated_predictions.jsonl, or rows with `id` and "
                "`prediction` as `pipeline: answer` writes them; required."
            )
        },
    )
    prediction_field: str | None = field(
        default=None, metadata={"help": "Field of the prediction; null is `prediction`, else `predict`."}
    )
    answer_pattern: str | None = field(
        default=None,
        metadata={
            "help": (
                "Regular expression with one group that cuts the final answer out of a prediction, its last match counts; "
                "null takes the whole text. White space around it is removed in both cases."
            )
        },
    )
    dataset: str | None = field(
        default=None,
        metadata={
            "help": (
                "`hindsight` datasets with the references, separated by commas; needed for the host's file, which has "
                "neither ids nor references. Null: the rows of `predictions` carry them."
            )
        },
    )
    dataset_dir: str = field(default="data", metadata={"help": "Folder of `dataset_info.json`."})
    max_samples: int | None = field(
        default=None,
        metadata={"help": "Read this many rows of each dataset, as the run that predicted did; null is all."},
    )
    missing: Literal["error", "zero", "skip"] = field(
        default="error",
        metadata={
            "help": "Question without prediction: stop, score it 0 as the official A-OKVQA code does, or leave it out."
        },
    )
    choice_matching: Literal["lenient", "exact"] = field(
        default="lenient",
        metadata={
            "help": (
                "aokvqa_choice, choice_accuracy, per_group. lenient: `(B)`, `B`, `b) dog`, `Dog.` and `(dog)` name a choice; exact: only its text does, "
                "as in the official code. Neither measures similarity [ours]."
            )
        },
    )
    first_number: Literal[0, 1] = field(
        default=0,
        metadata={
            "help": (
                "choice_accuracy: the number of the first option when a prediction names an option by number; 0 as in the official "
                "files of NExT-QA."
            )
        },
    )
    box_gold: Literal["dataset", "label"] = field(
        default="dataset",
        metadata={
            "help": (
                "box_iou. dataset: gold boxes are in pixels of the picture; label: they are in the column `label` of the host's file "
                "of predictions, in the model's own numbers, as the predictions are [ours]."
            )
        },
    )
    group_by: str | None = field(
        default=None, metadata={"help": "Column, such as `question_type`: gives the mean for each of its values, too."}
    )
    seen_groups: str | None = field(
        default=None,
        metadata={
            "help": (
                "Values of `group_by` that were in training, a list or separated by commas: gives the mean over the other "
                "groups, too."
            )
        },
    )
    output: str | None = field(
        default=None,
        metadata={
            "help": (
                "JSON file of the numbers; the questions are beside it in `<name>.questions.jsonl`. "
                "Null is `<predictions>.score.json`."
            )
        },
    )

    submission: str | None = field(
        default=None,
        metadata={
            "help": (
                "choice_accuracy: JSON file to write for the official scripts of NExT-QA, NExT-GQA and IntentQA; "
                "rows need `qid`, as their importers write it."
            )
        },
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the metrics, each once."""
        return tuple(dict.fromkeys(split_names(self.metric)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the names of the datasets."""
        return split_names(self.dataset)

    @property
    def seen(self) -> tuple[str, ...]:
        """Return the groups that training has seen, each once."""
        return tuple(dict.fromkeys(split_names(self.seen_groups)))

    @property
    def summary_file(self) -> Path:
        """Return the path of the numbers."""
        return Path(self.output or Path(self.predictions).with_suffix(".score.json"))

    @property
    def questions_file(self) -> Path:
        """Return the path of the questions with their scores."""
        return self.summary_file.with_suffix(".questions.jsonl")

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        for key in ("metric", "predictions"):
            if not getattr(self, key):
                yield Problem(key, getattr(self, key), "a value", "The key is required.")
        for name in self.metrics:
            if name not in metric_names():
                near = nearest(name, metric_names())
                remedy = f"The nearest metric is `{near}`." if near else "Choose one; --help explains them."
                yield Problem("metric", name, "one of " + ", ".join(metric_names()), remedy)
        if self.group_by is None:
            remedy = "Name the column, such as `group_by: modality`."
            if "per_group" in self.metrics:
                yield Problem("group_by", None, "a column of the rows with `metric: per_group`", remedy)
            if self.seen_groups is not None:
                yield Problem("seen_groups", self.seen_groups, "`group_by` beside it", remedy)
        if self.predictions and Path(self.predictions).suffix not in PREDICTION_SUFFIXES:
            yield Problem("predictions", self.predictions, "a file that ends in .json or .jsonl", "Give such a file.")
        if self.output is not None and (Path(self.output).suffix != ".json" or self.output == self.predictions):
            yield Problem("output", self.output, "another file, that ends in .json", "Give it such a name.")
        yield from self._submission_problems()
        if self.max_samples is not None and self.max_samples < 1:
            yield Problem("max_samples", self.max_samples, "1 or more", "Choose a larger number, or null.")
        yield from _pattern_problems(self.answer_pattern)

    def _submission_problems(self) -> Iterator[Problem]:
        if self.submission is None:
            return
        taken = {self.predictions, str(self.summary_file)}
        if Path(self.submission).suffix != ".json" or self.submission in taken:
            yield Problem("submission", self.submission, "another file, that ends in .json", "Give it such a name.")
        if "choice_accuracy" not in self.metrics:
            remedy = "Add the metric, or remove `submission`."
            yield Problem("submission", self.submission, "`choice_accuracy` among the metrics", remedy)


def _pattern_problems(pattern: str | None) -> Iterator[Problem]:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        yield Problem("answer_pattern", pattern, "a regular expression of Python", f"{error}.")
        return
    if groups != 1:
        remedy = "Put round brackets around the answer, and `(?:...)` around anything else."
        yield Problem("answer_pattern", pattern, f"one group, not {groups}", remedy)


def read_settings(argv: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of `X.yaml key=value ...`; see `config.command.read_settings`."""
    return command.read_settings(argv, usage=USAGE, plain={"answer_pattern"})


def build_arguments(given: Mapping[str, Any]) -> ScoreArguments:
    """Check everything that was given.

    Raises:
        ConfigError: with every problem found.
    """
    types = get_type_hints(ScoreArguments)
    problems, usable = [], {}
    for key, value in join_lists(given, {"metric", "dataset", "seen_groups"}).items():
        if key not in types:
            near = nearest(key, types)
            remedy = f"The nearest key is `{near}`." if near else "`llamafactory-cli score --help` lists all."
            problems.append(Problem(key, value, "a known key", remedy))
        elif fits(value, types[key]):
            usable[key] = value
        else:
            problems.append(Problem(key, value, " or ".join(describe(types[key])), "Correct the value."))
    arguments = ScoreArguments(**usable)
    wrong = {problem.key for problem in problems}
    problems += [problem for problem in arguments.problems() if problem.key not in wrong]
    if problems:
        raise ConfigError(problems)
    return arguments


def prepare(argv: Sequence[str]) -> str | None:
    """Check the words after `score` before the host is imported; return the help where it is asked for.

    Raises:
        ConfigError: with every problem found.
    """
    if not argv or {"-h", "--help"} & set(argv):
        return help_text()
    build_arguments(read_settings(argv))
    return None


def help_text() -> str:
    """Return the help of `score`: its use, its keys and its metrics."""
    lines = [f"usage: {USAGE}", "", "Keys:", *command.help_lines(ScoreArguments)]
    lines += ["", "Metrics:"]
    for name in metric_names():
        metric = get_metric(name)
        names = [*metric.FIELDS, *predicted_fields(metric)]
        needed = ", ".join(f"`{needed}`" for needed in names).replace(" or ", "` or `")
        lines.append(f"  {name}: {metric.SUMMARY}; as {metric.SOURCE}; needs {needed}")
    return "\n".join(lines)
