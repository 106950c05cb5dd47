"""What is wrong with released files, and what becomes of it: one error, or entries that are left out (`--bad-rows skip`).

Importers know nothing of this choice. They note what is wrong in their `Reader`, and the command opens `collecting` around them.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from ...config.problem import listed


# What may follow the place of an entry in a problem: `file, entry 3, field ...`, `file, entry 3: ...`, `file, entry 3 (row 4)`.
BEHIND_PLACE = re.compile(r"[,:.]? |[,:]")


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


@dataclass
class Faults:
    """What one import finds wrong.

    Attributes:
        skip: entries with a problem are left out; else they are refused.
        problems: of entries to leave out, one line each.
        unreadable: rows that could not be read.
        noted: those of them that the importer noted, with the place it gave.
    """

    skip: bool
    problems: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    noted: dict[str, str] = field(default_factory=dict)


_CURRENT: ContextVar[Faults | None] = ContextVar("faults", default=None)


@contextlib.contextmanager
def collecting(*, skip: bool) -> Iterator[Faults]:
    """Collect what is wrong while an importer reads.

    Raises:
        ImportRefused: the importer went over a row that cannot be read without noting it.
    """
    faults = Faults(skip)
    token = _CURRENT.set(faults)
    try:
        yield faults
    finally:
        _CURRENT.reset(token)
    if overlooked := faults.unreadable - faults.noted.keys():
        refuse(sorted(overlooked))


def current() -> Faults | None:
    """Return what collects the faults of the import that is running; None outside of one."""
    return _CURRENT.get()


def refuse(problems: Sequence[str]) -> None:
    """Stop with problems of the released files.

    Raises:
        ImportRefused: with all of them.
    """
    title = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the released files."
    remedy = "Download them again, correct the entries, or leave them out with --bad-rows skip."
    raise ImportRefused(title, problems, remedy)


def bad_places(problems: Sequence[str], places: set[str]) -> set[str]:
    """Return those of `places` that have a problem.

    Raises:
        ImportRefused: some problems belong to no single entry, so that nothing can be left out for them.
    """
    found, others = set(), []
    for problem in problems:
        starts = (problem[: match.start()] for match in BEHIND_PLACE.finditer(problem))
        place = next((start for start in starts if start in places), None)
        if place is None:
            others.append(problem)
        else:
            found.add(place)
    if others:
        title = f"{len(others)} problem{'s' if len(others) > 1 else ''} of no single question cannot be left out."
        raise ImportRefused(title, others, "Download the files again, or correct them.")
    return found
