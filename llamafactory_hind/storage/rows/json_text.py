r"""One JSON text to Python values, without loss: fast where nothing can be lost, carefully where something might.

`orjson` is two to three times as fast as `json`, but drops the first of two equal keys and rounds whole numbers of more than 64
bits, both in silence, and takes no `NaN`. What it may have changed is found from the bytes alone:

- every key and every text has two quotes, so that a dropped key leaves fewer quotes in what it would write again;
- a whole number that it rounds has at least 19 digits in a row.

Where either is seen, or it refuses, `json` reads the text again with checks of our own.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from .collecting import paused_collection
from .problems import UnreadableRow, show


WHITESPACE = b" \t\r\n"
# What stands before a number becomes a space, each digit a zero, all else another letter: a fraction or a text is no long number.
BEFORE_NUMBER = b" \t\r\n[,:-"
NUMBERS_ALONE = bytes(32 if byte in BEFORE_NUMBER else 48 if 48 <= byte < 58 else 120 for byte in range(256))
LONG_NUMBER = b" " + b"0" * 19  # -9223372036854775809 is the shortest that 64 bits do not hold


@dataclass(frozen=True)
class Position:
    """Where a text starts in its file: line and column from 1, offset in bytes from 0."""

    line: int
    column: int
    offset: int


def count_quotes(text: bytes) -> int:
    """Return how many quotes begin or end a key or a text in valid JSON."""
    escaped = 0
    if b"\\" in text:
        text = text.replace(b"\\\\", b"")  # pairs from the left, as a reader of JSON takes them
        escaped = text.count(b'\\"')
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord('"'))) - escaped


def may_change_numbers(text: bytes) -> bool:
    """Say whether there may be a whole number of more than 64 bits."""
    return LONG_NUMBER in text.translate(NUMBERS_ALONE)


def parse_many(texts: list[bytes], source: bytes, quotes: int | None = None) -> list[dict[str, Any]] | None:
    """Return the objects in `texts`, or None where one is not clearly an object without loss.

    Args:
        texts: JSON texts.
        source: bytes that hold all of them and between them no quotes.
        quotes: `count_quotes(source)`, where it is known.
    """
    with paused_collection():
        try:
            rows = list(map(orjson.loads, texts))
        except ValueError:
            return None
        if set(map(type, rows)) != {dict} or not all(rows) or may_change_numbers(source):
            return None
        written = count_quotes(orjson.dumps(rows))
        return rows if written == (count_quotes(source) if quotes is None else quotes) else None


def parse_row(text: bytes, start: Position) -> dict[str, Any]:
    """Return the object that a JSON text is.

    Raises:
        UnreadableRow: it is no JSON, no object, or something in it cannot be kept as it was written.
    """
    rows = parse_many([text], text)
    if rows is not None:
        return rows[0]
    value = parse_carefully(text, start)
    if not isinstance(value, dict) or not value:
        raise UnreadableRow(None, show(value), "an object with the fields of a row", "write `{...}`")
    return value


def parse_carefully(text: bytes, start: Position) -> Any:
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
        raise UnreadableRow(None, got, "JSON", "mend the syntax") from None
    except RecursionError:
        raise UnreadableRow(None, "lists in lists", "at most some hundred levels", "make it flatter") from None
    for field, key in find_repeated_keys(value):
        raise UnreadableRow(field, f"the key {show(key)} more than once", "each key once", "keep one of them")
    for field, half in _find_half_characters(value):
        expected = "whole characters (a surrogate comes in pairs)"
        raise UnreadableRow(field, ascii(half[:40]), expected, "write the character itself")
    return value


def decode(text: bytes, offset: int) -> str:
    """Return UTF-8 text that stands at `offset` bytes.

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
