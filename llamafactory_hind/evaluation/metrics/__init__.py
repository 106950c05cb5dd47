"""The metrics of `llamafactory-cli score`: one file a metric; its name is what `metric:` takes.

A metric's file defines `SUMMARY`, `SOURCE`, `FIELDS` (of a question, without which it cannot score), `dropped` and `score`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Scored:
    """What a prediction earns.

    Attributes:
        score: in 0..1.
        remark: what the reader of the mean should know of this question, counted over all questions.
    """

    score: float
    remark: str | None = None


def metric_names() -> list[str]:
    """Return the metrics that have a file here."""
    return sorted(module.name for module in iter_modules(__path__))


def get_metric(name: str) -> ModuleType:
    """Import the module of a metric.

    Raises:
        ValueError: no file has that name; the message lists those that exist.
    """
    if name not in metric_names():
        raise ValueError(f"metric: got {name!r}, expected one of {', '.join(metric_names())}.")
    return import_module(f"{__name__}.{name}")


def read_texts(fields: Mapping[str, Any], field: str) -> list[str]:
    """Return a question's list of texts.

    Raises:
        ValueError: the field holds something else.
    """
    texts = fields.get(field)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{field}: got {texts!r}, expected a list of texts, at least one.")
    return texts
