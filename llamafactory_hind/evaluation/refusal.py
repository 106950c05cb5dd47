"""The error for rows that cannot be scored: it names all kinds of trouble at once, the first rows of each in full."""

from collections.abc import Sequence

from ..config.problem import listed


class ScoreError(ValueError):
    """Rows of predictions or references that do not fit; no number was written."""

    def __init__(self, title: str, lines: Sequence[str], remedy: str) -> None:
        """Build the message.

        Args:
            title: what is wrong, in one sentence.
            lines: one for each row, with file, row and field.
            remedy: what to do.
        """
        super().__init__(f"{title}{listed(lines)}\n{remedy} No number was written.")
