"""The keys a user gave, as one mapping, whether they came from a file, `key=value` words or `--flags`."""

import contextlib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any


def settings(args: dict[str, Any] | list[str], known: Collection[str] = ()) -> dict[str, Any]:
    """Return key -> value of what the host's `read_args` gives: a mapping, or the words of a command line.

    Flags follow the host's parser: `--key value`, `--key=value`, a bare `--key` is true, `--no_key` is false, dashes are
    underscores, and the beginning of exactly one of the `known` keys means that key.
    """
    if isinstance(args, dict):
        return dict(args)
    found: dict[str, list[str]] = {}
    key = None
    for word in args:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            key = name.replace("-", "_")
            found[key] = [value] if equals else []
        elif key is not None:
            found[key].append(word)
    return dict(_meant(name, _value(words), known) for name, words in found.items())


def _meant(key: str, value: Any, known: Collection[str]) -> tuple[str, Any]:
    if key not in known and key.startswith("no_") and key[3:] in known:
        return key[3:], False
    begun = [name for name in known if name.startswith(key)]
    return (begun[0] if len(begun) == 1 and key not in known else key), value


def _value(words: list[str]) -> Any:
    if not words:
        return True
    values = [_scalar(word) for word in words]
    return values[0] if len(values) == 1 else values


def _scalar(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word)
    if word.startswith("{"):  # e.g. --deepspeed '{...}'
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(word)
    return word


def stage_of_file(words: list[str]) -> str | None:
    """Return the `stage` that a command line names in words or in its file, read without any library."""
    for word in reversed(words):
        if found := re.fullmatch(r"(?:--)?stage=(\w+)", word):
            return found[1]
    for word in words:
        if word.endswith((".yaml", ".yml", ".json")) and "\0" not in word and Path(word).is_file():
            found = re.search(r"""^[\s{]*["']?stage["']?\s*:\s*["']?(\w+)""", _text(word), re.MULTILINE)
            return found[1] if found else None
    return None


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8-sig", errors="replace")
    except OSError:
        return ""
