"""Keys of the online stages that say which completions teach, and how strongly: masks, penalties, comparisons, sampling again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..limits import out_of_range
from ..problem import Problem
from ..types import as_list


@dataclass
class SignalArguments:
    """What practitioners change in GRPO; each default is off, and then GRPO is unchanged."""

    policy_loss: Literal["clipped", "cispo"] = field(
        default="clipped",
        metadata={
            "help": (
                "Online stages: PPO's clipped surrogate, or CISPO, which clips the weight and keeps every token's gradient "
                "(MiniMax-M1, arXiv 2506.13585) [ours]."
            )
        },
    )
    ratio_level: Literal["token", "sequence"] = field(
        default="token",
        metadata={
            "help": "Online stages: ratio of policies per token, or one of each completion (GSPO, arXiv 2507.18071) [ours]."
        },
    )
    reward_normalization: Literal["total", "each"] = field(
        default="total",
        metadata={
            "help": (
                "Online stages: compare the weighted sum of the rewards, or each reward, and sum then "
                "(GDPO, arXiv 2601.05242) [ours]."
            )
        },
    )
    mask_truncated: bool = field(
        default=False,
        metadata={
            "help": (
                "Online stages: a completion cut at `max_new_tokens` does not teach "
                "(DAPO's overlong filtering, arXiv 2503.14476) [ours]."
            )
        },
    )
    overlong_buffer: int = field(
        default=0,
        metadata={
            "help": (
                "Online stages: tokens before `max_new_tokens` over which a penalty grows from 0 to `overlong_penalty` "
                "(DAPO's soft overlong punishment); 0 is off [ours]."
            )
        },
    )
    overlong_penalty: float = field(
        default=1.0,
        metadata={"help": "Online stages: the largest penalty of `overlong_buffer`, in units of reward [ours]."},
    )
    group_reward_range: list[float] | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: lowest and highest mean reward of a group that teaches, for example [0.1, 0.9]; "
                "null is no limit [ours]."
            )
        },
    )
    entropy_coef: float = field(
        default=0.0,
        metadata={
            "help": (
                "Online stages: weight of an entropy bonus: the mean entropy of the policy at the tokens it wrote, times this, "
                "is taken off the loss; 0 is off [ours]."
            )
        },
    )
    entropy_target: float | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: mean entropy in nats that the bonus holds: its coefficient starts at `entropy_coef`, rises by "
                "`entropy_target_step` while the entropy is below and falls while it is above (Skywork-OR1, arXiv 2505.22312); "
                "null is off [ours]."
            )
        },
    )
    entropy_target_step: float = field(
        default=0.005,
        metadata={
            "help": "Online stages: what one optimiser step changes of the coefficient with `entropy_target` [2nd]."
        },
    )
    reward_weights_end: list[float] | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: weights of `reward_funcs` at the end; they move there from `reward_weights` in a straight line. "
                "Null keeps `reward_weights` [ours]."
            )
        },
    )
    reward_weights_span: float = field(
        default=1.0,
        metadata={
            "help": (
                "Online stages: share of the training, above 0 and at most 1, in which the weights reach "
                "`reward_weights_end` [ours]."
            )
        },
    )
    curriculum_column: str | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: column of numbers; an epoch goes from low to high, equal ones are shuffled; null is off [ours]."
            )
        },
    )

    def __post_init__(self) -> None:
        """Take one number for a list of one, then let the host's class do its own."""
        self.reward_weights_end = as_list(self.reward_weights_end)
        next_in_line = getattr(super(), "__post_init__", None)
        if next_in_line is not None:
            next_in_line()


LOWEST = {
    "overlong_buffer": (0, True),
    "overlong_penalty": (0, True),
    "entropy_coef": (0, True),
    "entropy_target_step": (0, False),
    "reward_weights_span": (0, False),
}


def signal_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together: our keys with their defaults, the host's as given."""
    yield from out_of_range(settings, LOWEST)
    target = settings["entropy_target"]
    if target is not None and target <= 0:
        yield Problem(
            "entropy_target", target, "a number above 0, or null", "In nats: log 2 is one free choice of two."
        )
    limit, buffer = settings.get("max_new_tokens"), settings["overlong_buffer"]
    if isinstance(limit, int) and buffer > limit:
        yield Problem("overlong_buffer", buffer, f"at most `max_new_tokens`, {limit}", "Both count tokens.")
    bounds = settings["group_reward_range"]
    if bounds is not None and (len(bounds) != 2 or not bounds[0] <= bounds[1]):
        remedy = "For example `group_reward_range: [0.1, 0.9]`."
        yield Problem("group_reward_range", bounds, "two numbers, the lowest first", remedy)
    if settings["reward_normalization"] == "each" and settings["advantage_scale"] != "std":
        remedy = "GDPO divides each reward by its standard deviation; remove one of the two."
        yield Problem(
            "advantage_scale", settings["advantage_scale"], "`std` with `reward_normalization: each`", remedy
        )
    yield from _weights(settings)
    if settings["curriculum_column"] is not None and settings.get("disable_shuffling"):
        remedy = "`disable_shuffling` keeps the order of the file; remove one of the two."
        yield Problem("curriculum_column", settings["curriculum_column"], "null with `disable_shuffling`", remedy)


def _weights(settings: Mapping[str, Any]) -> Iterator[Problem]:
    names, end = as_list(settings["reward_funcs"]) or [], as_list(settings["reward_weights_end"])
    span = settings["reward_weights_span"]
    if span > 1:
        yield Problem("reward_weights_span", span, "at most 1", "1.0 is the whole training.")
    if end is None:
        return
    if names and len(end) != len(names):
        yield Problem(
            "reward_weights_end", end, f"{len(names)} numbers", "Give one for each of `reward_funcs`, or null."
        )
    elif not any(end):
        yield Problem("reward_weights_end", end, "at least one other than 0", "With 0 alone every reward is the same.")
