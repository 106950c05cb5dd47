"""Modules found by name: stages, pipelines, importers, metrics. A new file is a new entry, nothing else is edited."""

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from .types import nearest


class Catalogue:
    """The modules of a package; sub-packages and names that begin with `_` are machinery, not entries.

    Args:
        package: its full name.
        path: its `__path__`.
        kind: what an entry is, for errors: `stage`, `pipeline`, `importer`, `metric`.
    """

    def __init__(self, package: str, path: Sequence[str], kind: str) -> None:
        """Look at nothing yet."""
        self.package, self.path, self.kind = package, path, kind

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        found = iter_modules(self.path)
        return sorted(entry.name for entry in found if not entry.ispkg and not entry.name.startswith("_"))

    def get(self, name: str) -> ModuleType:
        """Import an entry.

        Raises:
            ValueError: no file has that name; the message lists those that exist, and names the nearest.
        """
        names = self.names()
        if name not in names:
            near = nearest(str(name), names)
            hint = f" Did you mean `{near}`?" if near else ""
            raise ValueError(f"{self.kind}: got {name!r}, expected one of {', '.join(names)}.{hint}")
        return import_module(f"{self.package}.{name}")
