"""One problem of a configuration, the error that reports all of them, and how errors show lists and values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


SHOWN_LINES = 20
SHOWN_NAMES = 3
SHOWN_CHARACTERS = 80
SHOWN_VALUE = 200  # characters of a value in a configuration
SHOWN_PROBLEMS = 50


class Words(str):
    """A text of ours in the place of a value: it is written as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the text."""
        return str(self)


# A value under such a key may be a secret, also where the key is not known; `api_key_env` holds a name, `max_new_tokens` a number.
SECRET = re.compile(r"(^|[._-])(api_?key|access_?key|key|token|secret|password|passwd)$", re.IGNORECASE)
HIDDEN = Words("a value (not shown)")


@dataclass(frozen=True)
class Problem:
    """A key, the value given, what was expected, and what to do."""

    key: str
    value: object
    expected: str
    remedy: str

    @property
    def got(self) -> str:
        """The value for a message, shortened; not one that may be a secret."""
        hidden = isinstance(self.value, str) and SECRET.search(self.key)
        return shorten(HIDDEN if hidden else self.value, limit=SHOWN_VALUE)

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{shorten_text(self.key, limit=SHOWN_VALUE)}: got {self.got}, expected {self.expected}. {self.remedy}"


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, found before a model or a dataset is loaded."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems and write one line for each."""
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = listed(problems, shown=SHOWN_PROBLEMS)
        super().__init__(f"{count} in the configuration, nothing was loaded:{lines}")


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong with one field: what was found, what is expected and what to do."""

    field: str
    got: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem as one clause."""
        return f"field `{self.field}`: got {self.got}, expected {self.expected}; {self.remedy}"


def listed(lines: Sequence[object], *, shown: int = SHOWN_LINES) -> str:
    """Return lines for an error message, each on a line of its own below the text before; the last says how many more there are.

    Args:
        lines: what to list.
        shown: lines in full.
    """
    more = [f"… and {len(lines) - shown} more."] if len(lines) > shown else []
    return "".join(f"\n  - {line}" for line in [*lines[:shown], *more])


def first_of(names: Sequence[object], *, shown: int = SHOWN_NAMES, separator: str = ", ") -> str:
    """Return the first names within a sentence, and how many more there are: `r1, r4, r7 and 2 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return separator.join(map(str, names[:shown])) + more


def shorten(value: Any, *, limit: int = SHOWN_CHARACTERS) -> str:
    """Return the repr of a value for an error message, shortened in the middle: a path ends in its name."""
    try:
        text = repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        text = "a whole number of thousands of digits"
    return shorten_text(text, limit=limit)


def shorten_text(text: str, *, limit: int = SHOWN_CHARACTERS) -> str:
    """Return a text of at most `limit` characters, a longer one with `…` for its middle."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[: half - 1]}…{text[-half:]}"


def show(value: Any) -> str:
    """Return a value of a row for an error message, `shorten`ed; 'nothing' for None."""
    return "nothing" if value is None else shorten(value)
