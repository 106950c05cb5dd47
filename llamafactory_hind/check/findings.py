"""What a check found, all of it, as a table or as JSON; the worst of it is the exit status."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..config.problem import Problem


Level = Literal["error", "warning", "note"]
STATUS: dict[Level, int] = {"note": 0, "warning": 1, "error": 2}
SHOWN = 20  # findings of one kind in the table; JSON has all


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: `error` ends the run or makes it wrong, `warning` may be meant, `note` is a number or a state.
        subject: what was looked at: `keys`, `rows`, `lengths`, `rewards`, `packages`, `output`, `server`, `estimate`.
        place: key, file and row, or dataset.
        message: in one sentence or two.
    """

    level: Level
    subject: str
    place: str
    message: str


@dataclass
class Report:
    """Findings in the order of the check; those that are worst come first when they are shown."""

    configuration: str
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, subject: str, place: str, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, subject, place, message))

    def add_problems(self, problems: list[Problem], subject: str = "keys") -> None:
        """Add the problems of a configuration as errors."""
        for problem in problems:
            self.add(
                "error", subject, problem.key, f"got {problem.got}, expected {problem.expected}. {problem.remedy}"
            )

    @property
    def status(self) -> int:
        """The exit status: 0 nothing wrong, 1 warnings alone, 2 errors."""
        return max((STATUS[finding.level] for finding in self.findings), default=0)

    def ordered(self) -> list[Finding]:
        """Return errors, then warnings, then notes."""
        return sorted(self.findings, key=lambda finding: -STATUS[finding.level])

    def as_json(self) -> str:
        """Return the report as JSON."""
        content: dict[str, Any] = {"configuration": self.configuration, "status": self.status}
        content["findings"] = [asdict(finding) for finding in self.ordered()]
        return json.dumps(content, indent=2, ensure_ascii=False)

    def print(self, *, as_json: bool) -> None:
        """Print the report to standard output."""
        if as_json:
            print(self.as_json())
            return
        from rich.console import Console  # quick answers need no table

        Console(markup=False, emoji=False, highlight=False).print(self._table())

    def _table(self) -> Any:
        from rich.table import Table

        counts = {
            level: sum(found.level == level for found in self.findings) for level in ("error", "warning", "note")
        }
        caption = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items())
        table = Table(title=f"check of {self.configuration}", caption=caption)
        for title in ("", "subject", "place", "finding"):
            table.add_column(title, overflow="fold")
        shown: dict[tuple[str, str], int] = {}
        for found in self.ordered():
            kind = (found.level, found.subject)
            shown[kind] = shown.get(kind, 0) + 1
            if shown[kind] <= SHOWN:
                table.add_row(found.level, found.subject, found.place, found.message)
        for (level, subject), count in shown.items():
            if count > SHOWN:
                table.add_row(level, subject, "", f"… and {count - SHOWN} more; --json lists all")
        return table
