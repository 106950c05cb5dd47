"""The metrics of `llamafactory-cli score`: one file a metric; its name is what `metric:` takes.

A metric's file defines `SUMMARY`, `SOURCE`, `FIELDS` (of a question, without which it cannot score), `dropped` and `score`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...config.catalogue import Catalogue


@dataclass(frozen=True)
class Scored:
    """What a prediction earns.

    Attributes:
        score: in 0..1.
        remark: what the reader of the mean should know of this question, counted over all questions.
    """

    score: float
    remark: str | None = None


METRICS = Catalogue(__name__, __path__, "metric")
metric_names, get_metric = METRICS.names, METRICS.get


def read_texts(fields: Mapping[str, Any], field: str) -> list[str]:
    """Return a question's list of texts.

    Raises:
        ValueError: the field holds something else.
    """
    texts = fields.get(field)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{field}: got {texts!r}, expected a list of texts, at least one.")
    return texts
