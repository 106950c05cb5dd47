"""Rows in, rows out: `llamafactory-cli synth`. One file a pipeline; its name is what `pipeline:` takes.

A pipeline's file defines `SUMMARY`, `Arguments` (its keys), `unit`, `prompts`, `Worker` and `finish`; see `knowledge.py`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


MACHINERY = frozenset(
    {
        *("calls", "config", "engines", "failures", "identity", "journal", "outputs", "progress", "prompting"),
        *("provenance", "rows", "run", "shards", "work"),
        *("hindsight_parsing", "naming", "pairing", "quadrants", "selecting", "voting"),
    }
)


def pipeline_names() -> list[str]:
    """Return the pipelines that have a file here."""
    return sorted(module.name for module in iter_modules(__path__) if module.name not in MACHINERY)


def get_pipeline(name: str) -> ModuleType:
    """Import the module of a pipeline.

    Raises:
        ValueError: no file has that name; the message lists those that exist.
    """
    if name not in pipeline_names():
        raise ValueError(f"pipeline: got {name!r}, expected one of {', '.join(pipeline_names())}.")
    return import_module(f"{__name__}.{name}")
