"""Files that a command writes are its own: never one that it reads, and never one that something else has written.

Beside outputs lies `.llamafactory_hind.json`: the digests of what our commands wrote there. A file that is there but not in it,
or that was changed since, was written by somebody else.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.problem import Problem
from .atomic import replaced, write_json
from .locks import wait_for


LEDGER = ".llamafactory_hind.json"
INFO = "dataset_info.json"
Inputs = Mapping[str, Iterable[Path]]  # what is read, such as "dataset `d`" -> its files


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file: links, hard links and `..` followed; also where neither is there yet."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def output_problems(key: str, outputs: Sequence[Path], inputs: Inputs, *, by: str) -> Iterator[Problem]:
    """Find outputs that are read by the same command, or that are there and were written by something else.

    Args:
        key: of the configuration, that names the outputs.
        outputs: files to write.
        inputs: what the command reads.
        by: which command writes, such as `score`.
    """
    for output in outputs:
        read = list(reading_problems(key, [output], inputs))
        yield from read or foreign_problems(key, [output], by=by)


def reading_problems(key: str, outputs: Sequence[Path], inputs: Inputs) -> Iterator[Problem]:
    """Find outputs that are read by the same command; see `output_problems`."""
    for output in outputs:
        reader = next((name for name, files in inputs.items() for file in files if same_file(output, file)), None)
        if reader is not None:
            yield Problem(key, str(output), "a file of its own", f"{reader} is read from it; give another file.")


def foreign_problems(key: str, outputs: Sequence[Path], *, by: str) -> Iterator[Problem]:
    """Find outputs that are there and were written by something else; see `output_problems`."""
    for output in outputs:
        if output.is_dir():
            yield Problem(key, str(output), "a file", "It is a folder; give another name.")
        elif output.exists() and not is_ours(output, by=by):
            remedy = (
                f"`{by}` did not write what is there, or it was changed since. Move it away, or give another name."
            )
            yield Problem(key, str(output), f"a new file, or one that `{by}` wrote", remedy)


def is_ours(path: Path, *, by: str) -> bool:
    """Whether a command wrote a file and nobody has changed it since; one that was removed holds nothing of anybody's."""
    entry = _read(path).get(_name(path), {})
    return entry.get("by") == by and (not path.exists() or _digest(path) in entry.get("digests", ()))


def is_noted(path: Path) -> bool:
    """Whether it is known who wrote a file of this name."""
    return _name(path) in _read(path)


@contextmanager
def written(path: Path, *, by: str) -> Iterator[Path]:
    """Give the path of a file to write; when the block ends well it takes the place of `path` and is noted as ours.

    Raises:
        WriteRefused: the disk is full, read-only or failed; `path` is as it was.
    """
    with replaced(path) as temporary:
        yield temporary
        _note(path, by, _digest(temporary))


def note_written(path: Path, *, by: str) -> None:
    """Note a file that grew line by line as ours."""
    if path.exists():
        _note(path, by, _digest(path))


def _note(path: Path, by: str, digest: str) -> None:
    """Add a digest; the one before stays beside it, as a kill may come before the file takes its place."""
    place = _ledger(path)
    with wait_for(place.with_suffix(".lock")):
        ledger = _read(path)
        before = ledger.get(_name(path), {}).get("digests", [])
        kept = [one for one in before if one != digest][-1:]
        write_json(place, {**ledger, _name(path): {"by": by, "digests": [*kept, digest]}})


def _ledger(path: Path) -> Path:
    return Path(os.path.realpath(path)).with_name(LEDGER)


def _name(path: Path) -> str:
    return Path(os.path.realpath(path)).name


def _read(path: Path) -> dict[str, Any]:
    try:
        ledger = json.loads(_ledger(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return ledger if isinstance(ledger, dict) else {}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
