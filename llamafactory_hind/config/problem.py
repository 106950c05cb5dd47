"""One problem of a configuration, and the error that reports all of them."""

from dataclasses import dataclass


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
