"""The error of rewards: what failed, on which row and completion. A reward that fails never scores 0."""

from collections.abc import Sequence

from ..config.problem import listed


class RewardError(ValueError):
    """Rewards that cannot be loaded, do not fit a row, or failed; all that is wrong at once."""

    def __init__(self, title: str, problems: Sequence[str]) -> None:
        """Build the message.

        Args:
            title: what was being done, in one sentence.
            problems: one each, with the reward's name, what was got, what is expected and what to do.
        """
        self.problems = list(problems)
        super().__init__(title + listed(problems))
