"""Runs that may be shown: a run is a name from a list that is made here, and looked at again before it is opened."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..completions.places import board_roots


TRAINER_LOG = "trainer_log.jsonl"
DEEPEST = 6  # [ours] folders below a root
MOST = 500  # [ours] runs in the list
MOST_FOLDERS = 20_000  # [ours] looked into; a root with more is cut there
FRESH = 3.0  # [ours] seconds for which a list holds
INSIDE_RUNS = ("checkpoint-", "completions", ".", "node_modules")  # beginnings of names of folders without runs


def roots_of(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders under which runs are looked for, links resolved."""
    return list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in board_roots(environ)))


def find_runs(roots: Sequence[Path], file: str = TRAINER_LOG) -> dict[str, Path]:
    """Return name -> file of every run under the roots, the newest first.

    Args:
        roots: resolved.
        file: that a run's folder holds. One that leads out of the roots by a link is left out.

    Returns:
        the name is the path below the root, or the root's own name; where two are alike, the later one has the root before it.
    """
    found: dict[str, tuple[float, Path]] = {}
    for root in roots:
        for folder in _folders(root, file):
            path = folder / file
            below = folder.relative_to(root).as_posix()
            name = root.name if below == "." else below
            name = f"{root.name}/{name}" if name in found else name
            if name not in found and is_inside(path, roots):
                found[name] = path.stat().st_mtime, path
    latest = sorted(found.items(), key=lambda entry: (-entry[1][0], entry[0]))[:MOST]
    return {name: path for name, (_, path) in latest}


def _folders(root: Path, file: str) -> Iterator[Path]:
    """Yield the folders below a root that hold a file of this name; links are not followed."""
    for number, (folder, below, files) in enumerate(os.walk(root)):
        deep = len(Path(folder).relative_to(root).parts)
        below[:] = [] if deep >= DEEPEST else sorted(name for name in below if not name.startswith(INSIDE_RUNS))
        if file in files:
            yield Path(folder)
        if number >= MOST_FOLDERS:
            return


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Say whether a path is a regular file under one of the roots once its links are resolved."""
    real = Path(os.path.realpath(path))
    return real.is_file() and any(real.is_relative_to(root) for root in roots)


class RunList:
    """The runs under some folders; the disk is looked at every few seconds.

    Args:
        roots: resolved.
        file: that a run's folder holds.
    """

    def __init__(self, roots: Sequence[Path], file: str = TRAINER_LOG) -> None:
        """Look at nothing yet."""
        self.roots, self.file = list(roots), file
        self._known: dict[str, Path] = {}
        self._looked = -math.inf

    def names(self, *, anew: bool = False) -> list[str]:
        """Return the names of all runs, the newest first; `anew` looks at the disk now."""
        if anew or time.monotonic() - self._looked > FRESH:
            self._known, self._looked = find_runs(self.roots, self.file), time.monotonic()
        return list(self._known)

    def open(self, names: Sequence[str]) -> dict[str, Path]:
        """Return name -> file of the named runs; names that are not in the list, whatever they say, are left out."""
        if any(name not in self._known for name in names):
            self.names()
        known = {name: self._known[name] for name in dict.fromkeys(names) if name in self._known}
        return {name: path for name, path in known.items() if is_inside(path, self.roots)}
