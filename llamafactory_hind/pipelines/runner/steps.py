"""The steps of a pipeline in a journal of their own: when the prompt of a later step changes, earlier ones are not paid again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...storage.journal import Journal, work_key


class StepJournal:
    """Results of steps, found by all that they depend on.

    Args:
        path: of the file; its folder is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, as a journal does."""
        self._journal = Journal(path)

    def find(self, content: Mapping[str, Any]) -> Any:
        """Return the result of a step, None where it has not been done."""
        return self._journal.results.get(work_key(content))

    def keep(self, contents: Sequence[Mapping[str, Any]], ids: Sequence[str], results: Sequence[Any]) -> None:
        """Record the results of a group of rows at one stroke; they are on the disk when this returns."""
        self._journal.add(
            (work_key(content), row_id, result) for content, row_id, result in zip(contents, ids, results, strict=True)
        )

    def close(self) -> None:
        """Let another run write."""
        self._journal.close()
