"""One problem of a configuration, and the error that reports all of them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """A key, the value given, what was expected, and what to do."""

    key: str
    value: object
    expected: str
    remedy: str

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{self.key}: got {self.value!r}, expected {self.expected}. {self.remedy}"


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, found before a model or a dataset is loaded."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems and write one line for each."""
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{count} in the configuration, nothing was loaded:\n{lines}")


SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong with one field: what stands there, what is expected and what to do."""

    field: str
    got: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem as one clause."""
        return f"field `{self.field}`: got {self.got}, expected {self.expected}; {self.remedy}"


def show(value: Any) -> str:
    """Return a value for an error message: its repr, shortened in the middle (a path ends in its name); 'nothing' for None."""
    if value is None:
        return "nothing"
    text = repr(value)
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: half - 1]}…{text[-half:]}"
