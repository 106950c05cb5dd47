"""Keys of `stage: external_grpo`, GRPO whose groups take in texts of other models (Vision-EKIPL, arXiv 2506.06856)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .online import online_problems
from .problem import Problem


@dataclass
class ExternalGrpoArguments:
    """GRPO with external actions (Vision-EKIPL)."""

    external_selection: Literal["top_reward", "append", "replace_worst"] = field(
        default="top_reward",
        metadata={
            "help": (
                "external_grpo: which candidates make up a group: the `num_generations` with the highest reward "
                "(Vision-EKIPL), the policy's and all external ones, or the external ones in place of the policy's worst [2nd]."
            )
        },
    )
    external_tie_break: Literal["policy_first", "external_first", "random"] = field(
        default="policy_first",
        metadata={"help": "external_grpo: who goes first where rewards are equal [ours]."},
    )
    external_max_per_group: int | None = field(
        default=None,
        metadata={
            "help": "external_grpo: external actions in a group at most; null is no limit, 0 is plain GRPO [ours]."
        },
    )
    external_ratio: Literal["plain", "shaped", "behavior"] = field(
        default="plain",
        metadata={
            "help": (
                "external_grpo: what an external token's advantage is multiplied by: pi/pi_old (Vision-EKIPL), "
                "pi/(pi + gamma) without clipping (LUFFY), or pi/q, which needs the recorded `logprob` [2nd]."
            )
        },
    )
    external_gamma: float = field(
        default=0.1,
        metadata={"help": "external_grpo: gamma of `external_ratio: shaped`, above 0; 0.1 as in LUFFY [C]."},
    )


def external_grpo_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of an external_grpo run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings, "external_grpo")
    most, gamma = settings["external_max_per_group"], settings["external_gamma"]
    if most is not None and most < 0:
        yield Problem("external_max_per_group", most, "null, or 0 or more", "null is no limit, 0 is plain GRPO.")
    if gamma <= 0:
        yield Problem("external_gamma", gamma, "a number above 0", "The default is 0.1; at 0 no token has a gradient.")
