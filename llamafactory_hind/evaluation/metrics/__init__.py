"""The metrics of `llamafactory-cli score`: one file a metric; its name is what `metric:` takes.

A metric's file defines `SUMMARY`, `SOURCE`, `FIELDS` (of a question, without which it cannot score; `box or boxes` is one of the
two), `dropped` and `score`. It may define

- `PREDICTED`: fields of a prediction's row that it scores in place of the text; `score` then gets them as a mapping;
- `BESIDE`: fields of a prediction's row that it reads beside the text; `score` finds them as `predicted_<name>`;
- `PARTS`: names of further scores of a question, in their order, and `parts(fields)`: those that a question has, where they differ;
- `averaged(part)`: whether the mean over the parts takes in this one; without it there is no such mean;
- `LOWEST`: the lowest score, where that is not 0.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ...config.catalogue import Catalogue


@dataclass(frozen=True)
class Scored:
    """What a prediction earns.

    Attributes:
        score: in 0..1, or from the metric's `LOWEST` on.
        remark: what the reader of the mean should know of this question, counted over all questions.
        parts: the further scores of the question: those that the metric's `parts` names for it.
    """

    score: float
    remark: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


METRICS = Catalogue(__name__, __path__, "metric")
metric_names, get_metric = METRICS.names, METRICS.get


def predicted_fields(metric: ModuleType) -> tuple[str, ...]:
    """Return the fields of a prediction's row that a metric scores; none where it scores the text."""
    fields: tuple[str, ...] = getattr(metric, "PREDICTED", ())
    return fields


def parts_of(metric: ModuleType, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the further scores that a metric gives a question.

    Raises:
        ValueError: the question's fields do not tell.
    """
    parts: tuple[str, ...] = metric.parts(fields) if hasattr(metric, "parts") else getattr(metric, "PARTS", ())
    return parts


def order_parts(metric: ModuleType, names: Iterable[str]) -> list[str]:
    """Return names of parts in the metric's order, those that it does not know behind, by name."""
    known: tuple[str, ...] = getattr(metric, "PARTS", ())
    given = set(names)
    return [name for name in known if name in given] + sorted(given - set(known))


def read_scores(predicted: Mapping[str, Any], field: str, count: int) -> list[float]:
    """Return a prediction's list of scores, one a choice.

    Raises:
        ValueError: the field holds something else, another number of them, or NaN.
    """
    scores = predicted[field]
    numbers = isinstance(scores, list) and all(
        isinstance(score, int | float) and not isinstance(score, bool) and not math.isnan(score) for score in scores
    )
    if not numbers or len(scores) != count:
        raise ValueError(f"{field}: got {scores!r:.160}, expected a list of {count} numbers, one for each choice.")
    return [float(score) for score in scores]


def read_index(fields: Mapping[str, Any], field: str, lowest: int, highest: int) -> int:
    """Return a question's whole number.

    Raises:
        ValueError: the field holds something else, or a number out of its range.
    """
    value = fields[field]
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ValueError(f"{field}: got {value!r:.160}, expected a whole number from {lowest} to {highest}.")
    return value


def read_texts(fields: Mapping[str, Any], field: str) -> list[str]:
    """Return a question's list of texts.

    Raises:
        ValueError: the field holds something else.
    """
    texts = fields.get(field)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{field}: got {texts!r}, expected a list of texts, at least one.")
    return texts
