"""Keys of `stage: grpo`: those of all online stages, dynamic sampling, and the temporal contrast of T-GRPO."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..keys.online import OnlineArguments, online_problems
from ..keys.share_prefix import SharePrefixArguments
from ..keys.signal import SignalArguments, signal_problems
from ..keys.temporal import TemporalArguments, temporal_problems
from ..limits import out_of_range
from ..problem import Problem


LABEL = "GRPO"
ROWS = "prompts"
TAKES = (SharePrefixArguments, OnlineArguments, SignalArguments, TemporalArguments)


@dataclass
class Arguments:
    """Group-relative policy optimization (arXiv 2402.03300)."""

    dynamic_sampling: bool = field(
        default=False,
        metadata={
            "help": (
                "grpo: write for another prompt where all completions of a group have one reward and teach nothing "
                "(DAPO, arXiv 2503.14476) [ours]."
            )
        },
    )
    kl_in_reward: bool = field(
        default=False,
        metadata={
            "help": (
                "grpo: take `kl_beta` times the KL of a completion, the sum of log pi - log pi_ref over its tokens, off its "
                "reward, in place of a part of the loss [ours]."
            )
        },
    )
    max_resample_times: int = field(
        default=3,
        metadata={"help": "grpo: prompts that `dynamic_sampling` tries in the place of one, 1 or more [ours]."},
    )


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a grpo run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings)
    yield from temporal_problems(settings)
    yield from signal_problems(settings)
    yield from out_of_range(settings, {"max_resample_times": (1, True)})
    if settings["kl_in_reward"] and settings["kl_beta"] == 0:
        yield Problem("kl_in_reward", True, "`kl_beta` above 0 beside it", "Set `kl_beta`, for example 0.01.")
    if settings["dynamic_sampling"] and settings["num_iterations"] > 1:
        remedy = "A prompt that takes another's place is not kept for a second pass; remove one of the two."
        yield Problem("num_iterations", settings["num_iterations"], "1 with `dynamic_sampling`", remedy)
