"""Reading released files: every entry is checked, and one error names all that is wrong with file, entry and field."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.problem import listed, show


KINDS: dict[Any, str] = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


class ImportRefused(ValueError):
    """A released file is not as it was released; nothing was written."""

    def __init__(self, title: str, problems: Sequence[str], remedy: str) -> None:
        """Build the message.

        Args:
            title: what is wrong, in one sentence.
            problems: one line each, with file, entry and field.
            remedy: what to do.
        """
        super().__init__(f"{title}{listed(problems)}\n{remedy} Nothing was written.")


@dataclass(frozen=True)
class Entry:
    """One question of a released file as a row.

    Attributes:
        place: file and entry, for errors.
        row: the row, without `images`.
        images: where its picture may lie below the folder of images, the likeliest place first.
    """

    place: str
    row: dict[str, Any]
    images: tuple[str, ...]


class Reader:
    """Takes fields out of objects and collects what is wrong, to be reported at once."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.problems: list[str] = []

    def take(self, record: Any, field: str, kind: type, place: str, *, default: Any = None) -> Any:
        """Return a field of the given type; where it is not, note the problem and return the default."""
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

    def refuse_twins(self, keys: Sequence[tuple[Any, str]], field: str) -> None:
        """Note every (key, place) whose key has occurred before."""
        first: dict[Any, str] = {}
        for key, place in keys:
            if key in first and key is not None:
                self.problems.append(f"{place}, field `{field}`: got {show(key)}, which {first[key]} has already")
            first.setdefault(key, place)

    def finish(self) -> None:
        """Stop if anything was wrong.

        Raises:
            ImportRefused: with every problem noted.
        """
        if self.problems:
            title = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} in the released files."
            raise ImportRefused(title, self.problems, "Download them again, or correct the entries.")


def read_json(path: Path, kind: type) -> Any:
    """Return the content of a JSON file whose top level has the given type.

    Raises:
        ImportRefused: the file is missing, unreadable or of another type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except (OSError, ValueError) as error:
        raise ImportRefused("A file cannot be read.", [f"{path}: {error}"], "Correct the path or the file.") from None
    if not isinstance(content, kind):
        problem = f"{path}: got {show(content)}, expected {KINDS[kind]} at the top level"
        raise ImportRefused("A file does not have the released form.", [problem], "Give the released file.")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; Python alone would keep the last of two equal keys, without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def most_common(answers: Sequence[str]) -> str:
    """Return the answer that most people gave; among equals, the one that was given first."""
    return Counter(answers).most_common(1)[0][0]
