"""Keys of the temporal contrast of T-GRPO (Video-R1, arXiv 2503.21776): ordered against shuffled frames."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..limits import out_of_range
from ..problem import Problem


@dataclass
class TemporalArguments:
    """What a right answer is worth where the order of frames helps; tulerfeng/Video-R1 adds 0.3."""

    temporal_weight: float = field(
        default=0.0,
        metadata={
            "help": (
                "grpo: added to the reward of right answers about a clip whose group does not do worse with ordered than with "
                "shuffled frames (T-GRPO: 0.3); 0 writes nothing about shuffled frames [ours]."
            )
        },
    )
    temporal_ratio: float = field(
        default=0.8,
        metadata={
            "help": (
                "grpo: the first reward of ordered frames must be at least this share of that of shuffled ones; "
                "0.8 in tulerfeng/Video-R1 [C code]."
            )
        },
    )
    temporal_generations: int | None = field(
        default=None,
        metadata={
            "help": "grpo: completions of a prompt with shuffled frames; null is half of `num_generations` [C code]."
        },
    )


LOWEST = {"temporal_weight": (0, True), "temporal_ratio": (0, True)}


def temporal_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what is wrong with these keys."""
    yield from out_of_range(settings, LOWEST)
    count = settings["temporal_generations"]
    if count is not None and count < 1:
        yield Problem("temporal_generations", count, "1 or more, or null", "null is half of `num_generations`.")
