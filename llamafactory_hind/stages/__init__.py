"""One file a stage: how it annotates its rows, its loss, its `run`. The file's name is the stage's name."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def stage_names() -> list[str]:
    """Return the stages that have a file here."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def get_stage(name: str) -> ModuleType:
    """Import the module of a stage; its `run(model_args, ..., callbacks)` trains.

    Raises:
        ValueError: no file has that name; the message lists those that exist.
    """
    if name not in stage_names():
        raise ValueError(f"stage: got {name!r}, expected one of {', '.join(stage_names())}.")
    return import_module(f"{__name__}.{name}")
