"""What a group may be chosen from."""

from collections import Counter
from dataclasses import dataclass, field

from ...trainers.rollouts.records import Rollout


REFUSALS = ("truncated", "too_long", "special_token")


@dataclass(frozen=True)
class Candidates:
    """What a prompt's group may be chosen from.

    Attributes:
        rollout: the policy's completions, then the external actions.
        logprobs: log q of each; 0 for the policy's and where it is not known.
        refused: reason -> actions that are not among them.
    """

    rollout: Rollout
    logprobs: list[float]
    refused: Counter[str] = field(default_factory=Counter)
