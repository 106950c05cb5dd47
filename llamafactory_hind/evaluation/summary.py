"""Scores of questions to means: overall and by group, with what did not count."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ..config.problem import ConfigError, Problem
from ..config.types import nearest
from ..formats.fields import is_missing
from .arguments import ScoreArguments
from .matching import Question
from .metrics import Scored, get_metric, order_parts, parts_of, predicted_fields
from .predictions import final_answer
from .refusal import ScoreError


INTERVAL = "95 %, normal: mean -+ 1.96 s / sqrt(n) over questions, within the range of the score"
Z = 1.96


@dataclass
class MetricScores:
    """What one metric makes of all questions.

    Attributes:
        scores: one for each question; None where it does not count.
        dropped: reason -> number of questions that the metric itself leaves out.
        missing: number of questions that count and have no prediction.
        remarks: what the reader should know -> number of questions.
        parts: the further scores of each question; none where it does not count.
    """

    scores: list[float | None] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    remarks: Counter[str] = field(default_factory=Counter)
    parts: list[Mapping[str, float]] = field(default_factory=list)

    def add(self, score: float | None, parts: Mapping[str, float] | None = None) -> None:
        """Take in the scores of the next question; None where it does not count."""
        self.scores.append(score)
        self.parts.append(parts or {})


def score_questions(questions: Sequence[Question], arguments: ScoreArguments) -> dict[str, MetricScores]:
    """Return metric -> its scores.

    Raises:
        ScoreError: a row lacks what a metric needs, a prediction is missing and `missing` is `error`, or nothing is left.
    """
    found = {name: MetricScores() for name in arguments.metrics}
    metrics = {name: get_metric(name) for name in found}
    wrong: list[str] = []
    missing: dict[str, str] = {}
    for question in questions:
        for name, scores in found.items():
            before = scores.missing
            try:
                _score_question(question, metrics[name], scores, arguments)
            except ValueError as error:
                wrong.append(f"{question.place}, metric {name}: {error}")
            if scores.missing > before:
                missing[question.id] = question.place
    if wrong:
        raise ScoreError("Rows lack fields that a metric needs.", wrong, "Correct them, or use another metric.")
    if missing and arguments.missing == "error":
        lines = [f"{place}: id {row_id!r}" for row_id, place in missing.items()]
        remedy = "Predict them, or set `missing: zero` (as the official A-OKVQA code does) or `missing: skip`."
        raise ScoreError(f"{len(missing)} of {len(questions)} questions have no prediction.", lines, remedy)
    empty = [name for name, scores in found.items() if all(score is None for score in scores.scores)]
    if empty:
        lines = [f"{name}: dropped {dict(found[name].dropped)}, missing {found[name].missing}" for name in empty]
        raise ScoreError("No question is left to score.", lines, "Look at the rows.")
    return found


def _score_question(question: Question, metric: ModuleType, found: MetricScores, arguments: ScoreArguments) -> None:
    if (reason := metric.dropped(question.fields)) is not None:
        found.dropped[reason] += 1
        found.add(None)
        return
    lacking = [needed for needed in metric.FIELDS if not _has(question.fields, needed)]
    if lacking:
        raise ValueError(f"got nothing in {', '.join(f'`{needed}`' for needed in lacking)}.")
    nothing = dict.fromkeys(parts_of(metric, question.fields), 0.0)
    predicted = _predicted(question, predicted_fields(metric))
    if predicted is None:
        found.missing += 1
        found.add(*((0.0, nothing) if arguments.missing == "zero" else (None,)))
        return
    answer = final_answer(predicted, arguments.answer_pattern) if isinstance(predicted, str) else predicted
    if answer is None:
        scored = Scored(0.0, "answer_pattern found no answer, scored 0", nothing)
    else:
        scored = metric.score(answer, {**question.fields, **_beside(question, metric)}, arguments)
        if not answer:
            found.remarks["empty prediction"] += 1
    if scored.remark:
        found.remarks[scored.remark] += 1
    found.add(scored.score, scored.parts)


def _has(fields: Mapping[str, Any], needed: str) -> bool:
    """Say whether a question has a field, or one of several (`box or boxes`)."""
    return any(not is_missing(fields.get(name)) for name in needed.split(" or "))


def _predicted(question: Question, names: Sequence[str]) -> str | dict[str, Any] | None:
    """Return the text of a prediction, or those fields of its row; None where it lacks one."""
    if not names:
        return question.prediction
    row = question.predicted or {}
    return None if any(is_missing(row.get(name)) for name in names) else {name: row[name] for name in names}


def _beside(question: Question, metric: ModuleType) -> dict[str, Any]:
    """Return what a metric reads of the prediction's row beside the text, as `predicted_…`."""
    row = question.predicted or {}
    return {f"predicted_{name}": row.get(name) for name in getattr(metric, "BESIDE", ())}


def variance(values: Sequence[float]) -> float:
    """Return the unbiased variance of two values or more."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def mean_of(scores: Iterable[float | None], lowest: float = 0.0) -> dict[str, Any]:
    """Return mean, number and interval, from `lowest` to 1, of the scores that count; None where there are too few."""
    values = [score for score in scores if score is not None]
    if not values:
        return {"score": None, "questions": 0, "interval": None}
    mean = math.fsum(values) / len(values)
    interval = None
    if len(values) > 1:
        half = Z * math.sqrt(variance(values)) / math.sqrt(len(values))
        interval = [max(lowest, mean - half), min(1.0, mean + half)]
    return {"score": mean, "questions": len(values), "interval": interval}


def mean_of_groups(scores: Sequence[Sequence[float | None]], lowest: float = 0.0) -> dict[str, Any]:
    """Return the mean over groups of their means, each counting as much, and its standard error `sqrt(sum s_g^2 / n_g) / G`.

    A group without a score that counts is left out; the error is None where a group has a single one.
    """
    groups = [[score for score in group if score is not None] for group in scores]
    groups = [group for group in groups if group]
    if not groups:
        return {"score": None, "groups": 0, "questions": 0, "standard_error": None, "interval": None}
    mean = math.fsum(math.fsum(group) / len(group) for group in groups) / len(groups)
    error = None
    if all(len(group) > 1 for group in groups):
        error = math.sqrt(math.fsum(variance(group) / len(group) for group in groups)) / len(groups)
    interval = None if error is None else [max(lowest, mean - Z * error), min(1.0, mean + Z * error)]
    counts = {"groups": len(groups), "questions": sum(map(len, groups))}
    return {"score": mean, **counts, "standard_error": error, "interval": interval}


def summarize(
    questions: Sequence[Question], found: Mapping[str, MetricScores], group_by: str | None, seen: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return metric -> mean, interval, counts and, where asked for, the mean of each group and over groups.

    Args:
        questions: in the order of the scores.
        found: metric -> scores.
        group_by: column of the groups, or None.
        seen: groups that training has seen; the others then have a mean of their own.

    Raises:
        ConfigError: no question has the column `group_by`, a seen group is none of its values, or none is unseen.
        ScoreError: its values are lists or objects.
    """
    groups = group_indices(questions, group_by) if group_by else {}
    refuse_unknown_groups(seen, groups)
    return {
        name: {
            **mean_of(scores.scores, lowest_score(name)),
            **_by_part(scores.parts, get_metric(name)),
            "dropped": dict(scores.dropped),
            "missing": scores.missing,
            "remarks": dict(scores.remarks),
            **(_by_group(scores.scores, groups, seen, lowest_score(name)) if groups else {}),
        }
        for name, scores in found.items()
    }


def lowest_score(name: str) -> float:
    """Return the lowest score of a metric."""
    return float(getattr(get_metric(name), "LOWEST", 0.0))


def _by_part(rows: Sequence[Mapping[str, float]], metric: ModuleType) -> dict[str, Any]:
    """Return the mean of each further score over the questions that have it, and, where the metric asks for it, over these."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, score in row.items():
            scores[name].append(score)
    if not scores:
        return {}
    means: dict[str, Any] = {"parts": {name: mean_of(scores[name]) for name in order_parts(metric, scores)}}
    if hasattr(metric, "averaged"):
        means["mean_of_parts"] = mean_of_groups([part for name, part in scores.items() if metric.averaged(name)])
    return means


def _by_group(
    scores: Sequence[float | None], groups: Mapping[str, Sequence[int]], seen: Sequence[str], lowest: float
) -> dict[str, Any]:
    parts = {group: [scores[index] for index in members] for group, members in groups.items()}
    means: dict[str, Any] = {"groups": {group: mean_of(part, lowest) for group, part in parts.items()}}
    means["mean_of_groups"] = mean_of_groups(list(parts.values()), lowest)
    if seen:
        unseen = [part for group, part in parts.items() if group not in seen]
        means["mean_of_unseen_groups"] = mean_of_groups(unseen, lowest)
    return means


def refuse_unknown_groups(seen: Sequence[str], groups: Mapping[str, Any]) -> None:
    """Stop at groups that training is said to have seen and the rows do not have.

    Raises:
        ConfigError: with each of them, or because no group is left.
    """
    problems = []
    for name in seen:
        if name not in groups:
            near = nearest(name, groups)
            remedy = f"The nearest is `{near}`." if near else "Choose among those."
            problems.append(Problem("seen_groups", name, f"one of {', '.join(groups)}", remedy))
    if seen and not problems and set(seen) == set(groups):
        problems.append(Problem("seen_groups", ",".join(seen), "a group left that was not seen", "Leave it out."))
    if problems:
        raise ConfigError(problems)


def group_indices(questions: Sequence[Question], column: str) -> dict[str, list[int]]:
    """Return value of a column -> indices of its questions, sorted by value; a question without it is in group `null`."""
    names = {name for question in questions for name in question.fields}
    if column not in names:
        near = nearest(column, names)
        remedy = f"The nearest is `{near}`." if near else f"Rows have {', '.join(sorted(names))}."
        raise ConfigError([Problem("group_by", column, "a column of the rows", remedy)])
    groups = defaultdict(list)
    wrong = []
    for index, question in enumerate(questions):
        value = question.fields.get(column)
        if isinstance(value, list | dict):
            wrong.append(f"{question.place}, field `{column}`: got {value!r}")
        groups[value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)].append(index)
    if wrong:
        raise ScoreError("group_by needs a column of single values.", wrong, "Take another column.")
    return dict(sorted(groups.items()))
