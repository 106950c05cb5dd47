"""Reading released files: every entry is checked, and one error names all that is wrong with file, entry and field."""

import marshal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config.problem import show
from .faults import ImportRefused, current, refuse
from .released import KINDS, Released, Unreadable, of_another_form, read_whole


__all__ = ["Entry", "ImportRefused", "Reader", "most_common", "read_json"]


class Entry:
    """One question of a released file as a row.

    Its row is kept as bytes: as Python objects the rows of a large release would take four times as much memory.
    """

    __slots__ = ("_packed", "images", "place")

    def __init__(self, place: str, row: Mapping[str, Any], images: tuple[str, ...]) -> None:
        """Keep a row.

        Args:
            place: file and entry, for errors.
            row: the row, without `images`, of values that JSON has.
            images: where its picture may lie below the folder of images, the likeliest place first.
        """
        self.place, self.images = place, images
        self._packed = marshal.dumps(dict(row))

    @property
    def row(self) -> dict[str, Any]:
        """The row, made anew each time: to change it, make another entry."""
        row: dict[str, Any] = marshal.loads(self._packed)
        return row


class Reader:
    """Takes fields out of objects and collects what is wrong, to be reported at once."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.problems: list[str] = []

    def take(self, record: Any, field: str, kind: type, place: str, *, default: Any = None) -> Any:
        """Return a field of the given type; where it is not, note the problem and return the default."""
        if isinstance(record, Unreadable):
            self._note_unreadable(record, place)
            return default
        value = record.get(field) if isinstance(record, Mapping) else None
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) and value not in ("", []):
            return value
        got = show(value if isinstance(record, Mapping) else record)
        filled = "non-empty " if kind in (str, list) else ""
        expected = f"{filled}{KINDS[kind]}".replace("non-empty a list", "a list with entries")
        self.problems.append(f"{place}, field `{field}`: got {got}, expected {expected}")
        return default

    def take_texts(self, record: Any, field: str, place: str) -> list[str]:
        """Return a field that is a list of non-empty texts; where it is not, note the problem and return an empty list."""
        texts = self.take(record, field, list, place, default=[])
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                self.problems.append(f"{place}, field `{field}[{index}]`: got {show(text)}, expected non-empty text")
        return [text for text in texts if isinstance(text, str)]

    def _note_unreadable(self, record: Unreadable, place: str) -> None:
        problem = record.noted_at(place)
        if problem not in self.problems[-1:]:
            self.problems.append(problem)

    def refuse_twins(self, keys: Sequence[tuple[Any, str]], field: str) -> None:
        """Note every (key, place) whose key has occurred before."""
        first: dict[Any, str] = {}
        for key, place in keys:
            if key in first and key is not None:
                self.problems.append(f"{place}, field `{field}`: got {show(key)}, which {first[key]} has already")
            first.setdefault(key, place)

    def finish(self) -> None:
        """Stop if anything was wrong, unless the command leaves out what is wrong.

        Raises:
            ImportRefused: with every problem noted.
        """
        faults, problems = current(), self.problems
        if faults is not None and faults.skip:
            faults.problems += problems
            self.problems = []
        elif problems:
            refuse(problems)


def read_json(path: Path, kind: type) -> Any:
    """Return the content of a JSON file whose top level has the given type.

    Args:
        path: of the file; text may be gzip.
        kind: `dict` is read as a whole. `list` becomes its entries one after the other from disk, each time it is iterated;
            JSON lines are such a list.

    Raises:
        ImportRefused: the file is missing, unreadable or of another type.
    """
    if kind is list:
        return Released(path)
    content = read_whole(path)
    if not isinstance(content, kind):
        raise of_another_form(path, content, kind)
    return content


def most_common(answers: Sequence[str]) -> str:
    """Return the answer that most people gave; among equals, the one that was given first."""
    return Counter(answers).most_common(1)[0][0]
