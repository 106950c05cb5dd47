"""Runs that may be shown: a run is a name from a list that is made here, and looked up again before it is opened."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


VARIABLE = "LLAMAFACTORY_HIND_BOARD_FOLDERS"  # more folders whose runs may be shown, separated like PATH
TRAINER_LOG = "trainer_log.jsonl"
DEEPEST = 6  # [ours] folders below a root
MOST = 500  # [ours] runs in the list
INSIDE_RUNS = ("checkpoint-", "completions", ".")  # beginnings of names of folders that hold no run of their own


def roots_of(saves: str, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders under which runs are looked for, links resolved: the Board's own and those of the variable."""
    named = [saves, *environ.get(VARIABLE, "").split(os.pathsep)]
    return list(dict.fromkeys(Path(os.path.realpath(name)) for name in named if name.strip()))


def find_runs(roots: Sequence[Path], file: str = TRAINER_LOG) -> dict[str, Path]:
    """Return name -> file of every run under the roots, the newest first.

    Args:
        roots: resolved.
        file: that a run's folder holds. One that leads out of the roots by a link is left out.

    Returns:
        the name is the root's last part and the path below it; where two roots end alike, the later one has a number.
    """
    found: list[tuple[float, str, Path]] = []
    taken: dict[str, int] = {}
    for root in roots:
        taken[root.name] = taken.get(root.name, 0) + 1
        title = root.name if taken[root.name] == 1 else f"{root.name} ({taken[root.name]})"
        for folder, below, files in os.walk(root):  # does not follow links
            path = Path(folder)
            deep = len(path.relative_to(root).parts)
            below[:] = [] if deep >= DEEPEST else [name for name in below if not name.startswith(INSIDE_RUNS)]
            if file in files and is_inside(path / file, roots):
                name = "/".join([title, *path.relative_to(root).parts])
                found.append((os.stat(path / file).st_mtime, name, path / file))
    return {name: path for _, name, path in sorted(found, key=lambda entry: (-entry[0], entry[1]))[:MOST]}


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Say whether a path is a regular file under one of the roots once its links are resolved."""
    real = Path(os.path.realpath(path))
    return real.is_file() and any(real.is_relative_to(root) for root in roots)


def open_runs(names: Sequence[str], roots: Sequence[Path], file: str = TRAINER_LOG) -> dict[str, Path]:
    """Return name -> file of the named runs that are in the list now; other names, whatever they say, are left out."""
    known = find_runs(roots, file)
    return {name: known[name] for name in dict.fromkeys(names) if name in known}
