"""The error of rewards: what failed, on which row and completion. A reward that fails never scores 0."""

from collections.abc import Sequence
from typing import Any


SHOWN_PROBLEMS = 20
SHOWN_CHARACTERS = 160


class RewardError(ValueError):
    """Rewards that cannot be loaded, do not fit a row, or failed; all that is wrong at once."""

    def __init__(self, title: str, problems: Sequence[str]) -> None:
        """Build the message.

        Args:
            title: what was being done, in one sentence.
            problems: one each, with the reward's name, what was got, what is expected and what to do.
        """
        self.problems = list(problems)
        more = [f"… and {len(problems) - SHOWN_PROBLEMS} more."] if len(problems) > SHOWN_PROBLEMS else []
        super().__init__(title + "".join(f"\n  - {line}" for line in [*problems[:SHOWN_PROBLEMS], *more]))


def shorten(value: Any) -> str:
    """Return a value for an error message: its repr, with the middle left out where it is long."""
    text = repr(value)
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]} … {text[-half:]}"
