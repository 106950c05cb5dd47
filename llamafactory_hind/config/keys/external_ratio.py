"""Keys of the stages whose groups hold texts that the policy did not write under its own prompt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..problem import Problem


@dataclass
class ExternalRatioArguments:
    """The ratio of external tokens (Vision-EKIPL, arXiv 2506.06856; LUFFY, arXiv 2504.14945)."""

    external_ratio: Literal["plain", "shaped", "behavior"] = field(
        default="plain",
        metadata={
            "help": (
                "external_grpo, gated_distill: what an external (or hinted) token's advantage is multiplied by: pi/pi_old "
                "(Vision-EKIPL), pi/(pi + gamma) without clipping (LUFFY), or pi/q, which needs the `logprob` of the text [2nd]."
            )
        },
    )
    external_gamma: float = field(
        default=0.1,
        metadata={
            "help": "external_grpo, gated_distill: gamma of `external_ratio: shaped`, above 0; 0.1 as in LUFFY [C]."
        },
    )


def ratio_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find a gamma that means nothing."""
    if settings["external_gamma"] <= 0:
        remedy = "The default is 0.1; at 0 no token has a gradient."
        yield Problem("external_gamma", settings["external_gamma"], "a number above 0", remedy)
