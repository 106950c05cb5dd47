"""Which runs may be looked at: a run is a name from a list that was made here, never a path from a page."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...storage.completion_files import FOLDER


DEPTH = 6  # [ours] folders below a root
FRESH = 3.0  # [ours] seconds for which a list of runs holds
MOST_FOLDERS = 20_000  # looked into; a root with more is cut there
LOG = "trainer_log.jsonl"
OUTPUTS = (".report.json", ".dropped.jsonl", ".journal.jsonl", ".quadrants.json", ".failures.jsonl")  # of `synth`
SKIPPED = ("checkpoint-", ".", "__pycache__", "node_modules")


@dataclass(frozen=True)
class Entry:
    """Something that can be looked at.

    Attributes:
        name: in the menu: its place below the root.
        path: of the folder of a run, or of the output of `synth`.
        kind: `run` with completions, `empty` without, `synth`.
        changed: time of the last change, in seconds.
    """

    name: str
    path: Path
    kind: str
    changed: float


class Roots:
    """Finds runs under some folders.

    Args:
        roots: folders that may be looked into; a link that leads out of them is not followed.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        """Look at nothing yet."""
        self.roots = [Path(os.path.realpath(root)) for root in roots]
        self._looked, self._entries = -math.inf, []

    def entries(self, *, anew: bool = False) -> list[Entry]:
        """Return what there is, the latest first; names are different. The disk is looked at every few seconds, or `anew`."""
        if anew or time.monotonic() - self._looked > FRESH:
            self._entries, self._looked = self._look(), time.monotonic()
        return self._entries

    def _look(self) -> list[Entry]:
        found: dict[str, Entry] = {}
        for root in self.roots:
            for entry in _below(root):
                name = entry.name if entry.name not in found else f"{root.name}/{entry.name}"
                found.setdefault(name, Entry(name, entry.path, entry.kind, entry.changed))
        return sorted(found.values(), key=lambda entry: (-entry.changed, entry.name))

    def get(self, name: str) -> Entry:
        """Return an entry by name; where it leads is looked at again.

        Raises:
            ValueError: there is none of this name, or it now leads elsewhere.
        """
        for anew in (False, True):
            for entry in self.entries(anew=anew):
                if entry.name == name and self.allows(entry.path / FOLDER if entry.kind == "run" else entry.path):
                    return entry
        raise ValueError(f"run: got {name!r:.120}, which is not in the list. Choose one of the list, or refresh it.")

    def allows(self, path: Path) -> bool:
        """Say whether a path, its links followed, lies in one of the roots."""
        real = os.path.realpath(path)
        return any(real == str(root) or real.startswith(str(root) + os.sep) for root in self.roots)


def _below(root: Path) -> Iterator[Entry]:
    left = MOST_FOLDERS
    waiting = [(root, 0)]
    while waiting and left:
        folder, depth = waiting.pop(0)
        left -= 1
        try:
            inside = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        names = {entry.name for entry in inside}
        yield from _entries(root, folder, names)
        if depth < DEPTH:
            waiting += [
                (Path(entry.path), depth + 1)
                for entry in inside
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(SKIPPED) and entry.name != FOLDER
            ]


def _entries(root: Path, folder: Path, names: set[str]) -> Iterator[Entry]:
    completions = folder / FOLDER
    name = folder.relative_to(root).as_posix()
    name = root.name if name == "." else name
    if FOLDER in names and completions.is_dir() and not completions.is_symlink():
        yield Entry(name, folder, "run", _changed(completions))
    elif LOG in names:
        yield Entry(name, folder, "empty", _changed(folder / LOG))
    for output in sorted(_outputs(names)):
        yield Entry(
            output if folder == root else f"{name}/{output}", folder / output, "synth", _changed(folder / output)
        )


def _outputs(names: set[str]) -> Iterator[str]:
    """Yield the outputs of `synth` in a folder: a .json or .jsonl with its journal or report beside it."""
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending not in (".json", ".jsonl") or name.endswith(OUTPUTS):
            continue
        if any(f"{stem}{other}" in names for other in OUTPUTS[:4]):
            yield name


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
