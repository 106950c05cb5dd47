"""The error for rows that cannot be scored: it names all kinds of trouble at once, the first rows of each in full."""

from collections.abc import Sequence


SHOWN_ROWS = 20


class ScoreError(ValueError):
    """Rows of predictions or references that do not fit; no number was written."""

    def __init__(self, title: str, lines: Sequence[str], remedy: str) -> None:
        """Build the message.

        Args:
            title: what is wrong, in one sentence.
            lines: one for each row, with file, row and field.
            remedy: what to do.
        """
        more = [f"... and {len(lines) - SHOWN_ROWS} more."] if len(lines) > SHOWN_ROWS else []
        shown = "".join(f"\n  - {line}" for line in [*lines[:SHOWN_ROWS], *more])
        super().__init__(f"{title}{shown}\n{remedy} No number was written.")
