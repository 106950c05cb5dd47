"""Released data sets to `hindsight` or `rollout` rows: `python -m llamafactory_hind.importers NAME ...`. One file a family.

A family's file defines `SUMMARY`, `add_arguments(parser)` and `read_entries(arguments)`; see `okvqa.py`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


MACHINERY = frozenset({"__main__", "entries", "images"})


def importer_names() -> list[str]:
    """Return the families that have a file here."""
    return sorted(module.name for module in iter_modules(__path__) if module.name not in MACHINERY)


def get_importer(name: str) -> ModuleType:
    """Import the module of a family.

    Raises:
        ValueError: no file has that name; the message lists those that exist.
    """
    if name not in importer_names():
        raise ValueError(f"importer: got {name!r}, expected one of {', '.join(importer_names())}.")
    return import_module(f"{__name__}.{name}")
