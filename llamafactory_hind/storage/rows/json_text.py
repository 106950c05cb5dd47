"""One JSON text read with care: what is wrong with it is named, and nothing in it changes."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .json_fast import count_quotes, parse_entries
from .problems import UnreadableRow, show


WHITESPACE = b" \t\r\n"


@dataclass(frozen=True)
class Position:
    """Where a text starts in its file: line and column from 1, offset in bytes from 0."""

    line: int
    column: int
    offset: int


def parse_row(text: bytes, start: Position, *, half_characters: bool = False) -> dict[str, Any]:
    """Return the object that a JSON text is.

    Args:
        text: of one row.
        start: where it begins, for errors.
        half_characters: keep half a surrogate pair, which a model may write and no table can hold.

    Raises:
        UnreadableRow: it is no JSON, no object, or something in it cannot be kept as it was written.
    """
    rows = parse_entries(text, 1, count_quotes(text))
    if rows is not None:
        return rows[0]
    value = parse_carefully(text, start, half_characters=half_characters)
    if not isinstance(value, dict) or not value:
        raise UnreadableRow(None, show(value), "an object with the fields of a row", "write `{...}`")
    return value


def parse_carefully(text: bytes, start: Position, *, half_characters: bool = False) -> Any:
    """Return the value of a JSON text, with `NaN` and `Infinity` as `json` writes them.

    Raises:
        UnreadableRow: names line and column, the byte, the key or the field.
    """
    decoded = decode(text, start.offset)
    try:
        value = json.loads(
            decoded, object_pairs_hook=_make_object, parse_float=_parse_fraction, parse_int=_parse_whole
        )
    except json.JSONDecodeError as error:
        line = start.line + error.lineno - 1
        column = error.colno + (start.column - 1 if error.lineno == 1 else 0)
        near = show(decoded[max(0, error.pos - 15) : error.pos + 15])
        got = f"{error.msg}: line {line}, column {column}, near {near}"
        raise UnreadableRow(None, got, "JSON", "correct the syntax") from None
    except RecursionError:
        raise UnreadableRow(None, "lists in lists", "at most some hundred levels", "make it flatter") from None
    for field, key in find_repeated_keys(value):
        raise UnreadableRow(field, f"the key {show(key)} more than once", "each key once", "keep one of them")
    for field, key in find_nul_keys(value):
        raise UnreadableRow(field, f"the key {show(key)}", "a key without the character U+0000", "rename it")
    for field, half in () if half_characters else _find_half_characters(value):
        expected = "whole characters (a surrogate comes in pairs)"
        raise UnreadableRow(field, ascii(half[:40]), expected, "write the character itself")
    return value


def decode(text: bytes, offset: int) -> str:
    """Return UTF-8 text that is at `offset` bytes.

    Raises:
        UnreadableRow: names the first byte that is none.
    """
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"byte 0x{text[error.start]:02x} at byte {offset + error.start} of the file"
        raise UnreadableRow(None, got, "UTF-8", "save the file as UTF-8") from None


class _Repeating(dict[str, Any]):
    """An object in which a key occurs more than once."""

    repeated: str


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    repeating = _Repeating(made)
    repeating.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeating


def _parse_fraction(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise UnreadableRow(None, f"the number {text[:40]}", "at most 1.8e308", "write it as text")
    return value


def _parse_whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's own limit
        raise UnreadableRow(None, f"a number of {len(text)} digits", "at most 4300", "write it as text") from None


def find_repeated_keys(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, key) of the keys that an object within `value` has more than once."""
    for path, part in _walk(value, field):
        if isinstance(part, _Repeating):
            yield join(path, part.repeated), part.repeated


def find_nul_keys(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (path, key) of the keys within `value` that no column of a table can have as a name."""
    for path, part in _walk(value, ""):
        for key in part if isinstance(part, dict) else ():
            if "\0" in key:
                yield ascii(join(path, key))[1:-1], key


def _find_half_characters(value: Any) -> Iterator[tuple[str, str]]:
    for path, part in _walk(value, ""):
        for text in [part] if isinstance(part, str) else part if isinstance(part, dict) else ():
            try:
                text.encode()
            except UnicodeEncodeError:
                yield ascii(path)[1:-1], text


def _walk(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, part) for all parts, without recursion: a text may nest as deep as the parser goes."""
    waiting = [(field, value)]
    while waiting:
        path, part = waiting.pop()
        yield path, part
        if isinstance(part, dict):
            waiting += [(join(path, key), item) for key, item in part.items()]
        elif isinstance(part, list):
            waiting += [(f"{path}[{index}]", item) for index, item in enumerate(part)]


def join(path: str, key: str) -> str:
    """Return the path of `key` in the object at `path`."""
    return f"{path}.{key}" if path else key
