"""Types of keys: whether a value fits the declared one, how to say it, and the nearest known word."""

import math
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


NEAR = 0.6  # [ours] similarity (0..1) from which a word is worth naming
LONGEST = 100  # characters of a word that may be a misspelt one; the comparison takes their square


def nearest(
    word: str, choices: Iterable[str], preferred: Collection[str] = (), *, at_least: float = NEAR
) -> str | None:
    """Return the choice most like the word, a preferred one where they are nearly alike; None if none is near.

    Args:
        word: as it was written; its case does not matter.
        choices: known words.
        preferred: choices that count as 0.1 nearer.
        at_least: similarity (0..1, of `difflib.SequenceMatcher`) that the choice must have.
    """

    def likeness(choice: str) -> float:
        return SequenceMatcher(None, choice.casefold(), word.casefold()).ratio() + 0.1 * (choice in preferred)

    if len(word) > LONGEST:
        return None
    best = max(sorted(choices), key=likeness, default=None)
    return best if best is not None and likeness(best) >= at_least else None


def fits(value: object, expected: Any) -> bool:
    """Tell whether a value read from YAML, JSON or a flag has the declared type."""
    if get_origin(expected) in (Union, UnionType):
        return any(fits(value, option) for option in get_args(expected))
    if get_origin(expected) is Literal:
        choices = get_args(expected)
        return (unquoted(value) if {"on", "off"} <= set(choices) else value) in choices
    if get_origin(expected) is list:  # one word of a command line is a list of one
        (item,) = get_args(expected)
        return all(fits(entry, item) for entry in (value if isinstance(value, list) else [value]))
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def describe(expected: Any) -> list[str]:
    """Return the declared type in words, one for each alternative."""
    if get_origin(expected) in (Union, UnionType):
        return [word for option in get_args(expected) for word in describe(option)]
    if get_origin(expected) is Literal:
        return [f"`{choice}`" for choice in get_args(expected)]
    if get_origin(expected) is list:
        return [f"a list, each {' or '.join(describe(get_args(expected)[0]))}"]
    words = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    return [words[expected]]


def unquoted(value: object) -> object:
    """Return 'on' for True and 'off' for False, every other value as it is."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def as_list(value: Any) -> list[Any] | None:
    """Return a list as it is, None as None, anything else as a list of one."""
    return value if value is None or isinstance(value, list) else [value]
