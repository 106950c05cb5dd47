"""Keys of the online stages, which write completions, reward them and learn from them, and the checks they share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..limits import out_of_range, reference_keys
from ..problem import Problem
from ..types import as_list
from .rollout_server import RolloutServerArguments, rollout_server_problems


@dataclass
class OnlineArguments(RolloutServerArguments):
    """Rollouts, rewards and the policy loss (GRPO, arXiv 2402.03300)."""

    num_generations: int = field(
        default=8,
        metadata={
            "help": "Online stages: completions of each prompt, its group, 2 or more; 8 as in Reason-RFT [ours]."
        },
    )
    rollout_temperature: float = field(
        default=0.9,
        metadata={
            "help": "Online stages: temperature of writing and scoring completions, above 0; 0.9 as in Reason-RFT [ours]."
        },
    )
    rollout_top_p: float = field(
        default=1.0,
        metadata={
            "help": "Online stages: write from the smallest set of tokens with this probability; 1.0 is off [ours]."
        },
    )
    rollout_top_k: int = field(
        default=0, metadata={"help": "Online stages: sample from this many most probable tokens; 0 is off [ours]."}
    )
    reward_funcs: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: rewards, each a registered name, `package.module:function` or "
                "`path/to/file.py:function` [ours]."
            )
        },
    )
    reward_weights: list[float] | None = field(
        default=None, metadata={"help": "Online stages: a weight for each of `reward_funcs`; default 1 each [ours]."}
    )
    reward_timeout: float = field(
        default=60.0, metadata={"help": "Online stages: seconds that one call of a reward may take [ours]."}
    )
    kl_beta: float = field(
        default=0.0,
        metadata={
            "help": (
                "Online stages: weight of the KL divergence from the reference, the model as loaded; "
                "0 loads no reference [ours]."
            )
        },
    )
    clip_low: float = field(
        default=0.2,
        metadata={"help": "Online stages: the ratio of new to old policy is clipped this far below 1 [ours]."},
    )
    clip_high: float = field(
        default=0.2,
        metadata={"help": "Online stages: the ratio of new to old policy is clipped this far above 1 [ours]."},
    )
    num_iterations: int = field(
        default=1, metadata={"help": "Online stages: optimiser steps on the same completions [ours]."}
    )
    advantage_scale: Literal["std", "batch", "none"] = field(
        default="std",
        metadata={
            "help": (
                "Online stages: divide advantages by the standard deviation of their group, of the whole batch, or not [ours]."
            )
        },
    )
    loss_reduction: Literal["sequence", "token", "constant"] = field(
        default="sequence",
        metadata={
            "help": (
                "Online stages: mean over completions (GRPO), over tokens (DAPO), or by the constant "
                "`max_new_tokens` (Dr. GRPO) [ours]."
            )
        },
    )
    loss_micro_batch: int | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: completions that the loss pass computes at a time. Fewer take less memory and more time: all but "
                "the prompts is computed twice. Null is the whole micro-batch [ours]."
            )
        },
    )

    rollout_tokens: int | None = field(
        default=None,
        metadata={
            "help": (
                "Online stages: tokens in flight at most while `rollout_engine: hf` writes, those of prompts and `max_new_tokens` of "
                "each completion. Null is what the free memory of a GPU holds, and no limit on a CPU [ours]."
            )
        },
    )

    def __post_init__(self) -> None:
        """Take one name or number for a list of one, as the words of a command line are, then let the host's class do its own."""
        self.reward_funcs, self.reward_weights = as_list(self.reward_funcs), as_list(self.reward_weights)
        self.rollout_server = as_list(self.rollout_server)
        next_in_line = getattr(super(), "__post_init__", None)
        if next_in_line is not None:
            next_in_line()


LOWEST = {  # key -> lowest value, and whether the value itself is allowed
    "num_generations": (2, True),
    "rollout_temperature": (0, False),
    "rollout_top_p": (0, False),
    "rollout_top_k": (0, True),
    "reward_timeout": (0, False),
    "kl_beta": (0, True),
    "clip_low": (0, True),
    "clip_high": (0, True),
    "num_iterations": (1, True),
}
WHY = {
    "num_generations": "A completion is compared with the others of its group.",
    "rollout_temperature": "Greedy completions are all the same; the default is 0.9.",
}


def online_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of an online run: our keys with their defaults, the host's as given."""
    yield from out_of_range(settings, LOWEST, WHY)
    yield from _too_large(settings)
    yield from _rewards(settings)
    yield from rollout_server_problems(settings)
    if settings.get("metric_for_best_model") in ("loss", "eval_loss"):
        remedy = "A loss says nothing here; remove it (then it is `eval_reward`) or name another metric."
        yield Problem("metric_for_best_model", settings["metric_for_best_model"], "a reward", remedy)
    yield from _reference_keys(settings)


def _too_large(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["rollout_top_p"] > 1:
        yield Problem("rollout_top_p", settings["rollout_top_p"], "at most 1", "1.0 is off.")
    if settings["clip_low"] > 1:
        yield Problem("clip_low", settings["clip_low"], "at most 1", "A ratio of probabilities is never below 0.")
    rows = settings["loss_micro_batch"]
    if rows is not None and rows < 1:
        yield Problem("loss_micro_batch", rows, "1 or more, or null", "Null computes the whole micro-batch at a time.")
    tokens = settings["rollout_tokens"]
    if tokens is not None and tokens < 1:
        yield Problem(
            "rollout_tokens", tokens, "1 or more, or null", "Null takes what the free memory of a GPU holds."
        )
    if tokens is not None and settings["rollout_engine"] != "hf":
        remedy = "A server has a budget of its own (`--max-num-batched-tokens`); remove this key."
        yield Problem("rollout_tokens", tokens, "null with `rollout_engine: vllm`", remedy)
    length = settings.get("max_new_tokens")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        yield Problem("max_new_tokens", length, "1 or more", "It is the length at which a completion is cut.")


def _rewards(settings: Mapping[str, Any]) -> Iterator[Problem]:
    names, weights = as_list(settings["reward_funcs"]), as_list(settings["reward_weights"])
    if not names:
        remedy = "Give at least one, for example `reward_funcs: [accuracy]`; docs/rewards.md lists them."
        yield Problem("reward_funcs", names, "a list of rewards", remedy)
    elif weights is not None and len(weights) != len(names):
        yield Problem(
            "reward_weights", weights, f"{len(names)} numbers", "Give one for each of `reward_funcs`, or none."
        )
    elif weights is not None and not any(weights):
        yield Problem("reward_weights", weights, "at least one other than 0", "With 0 alone every reward is the same.")


def _reference_keys(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings.get("ref_model") is not None and settings["kl_beta"] == 0:
        yield Problem(
            "ref_model", settings["ref_model"], "`kl_beta` above 0 beside it", "No reference is used; remove it."
        )
    yield from reference_keys(settings)
    for key in ("pissa_init", "pissa_convert"):
        if settings.get(key) and settings["kl_beta"] > 0 and settings.get("ref_model") is None:
            remedy = "PiSSA changes the base weights, which are the reference; train a plain LoRA or set `ref_model`."
            yield Problem(key, settings[key], "unset with `kl_beta` above 0", remedy)
