"""Keys of `stage: gated_distill`, quality-gated on-policy distillation with teacher hints (Knowledge-Enhanced PO, arXiv 2602.00400)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..keys.external_ratio import ExternalRatioArguments, ratio_problems
from ..keys.online import OnlineArguments, online_problems
from ..keys.share_prefix import SharePrefixArguments
from ..keys.signal import SignalArguments, signal_problems
from ..limits import out_of_range
from ..problem import Problem
from ..types import as_list


LABEL = "Gated distillation with hints (KEPO: Knowledge-Enhanced)"
ROWS = "prompts"
TAKES = (SharePrefixArguments, OnlineArguments, SignalArguments, ExternalRatioArguments)
UNBOUNDED = {"gate_threshold"}  # keys whose number may be infinite


@dataclass
class Arguments:
    """On-policy distillation of good trajectories, and a teacher's hints where the policy finds none."""

    teacher: str | None = field(
        default=None,
        metadata={
            "help": (
                "gated_distill: a model folder or name, `base` (the student with its adapter off), or a YAML file that describes "
                "one or several teachers (local or `api`); null distils nothing and takes hints from the rows alone [ours]."
            )
        },
    )
    gate_threshold: float = field(
        default=1.0,
        metadata={
            "help": "gated_distill: distil completions whose `gate_reward` is at least this; -.inf distils all [C code]."
        },
    )
    gate_reward: str = field(
        default="accuracy",
        metadata={
            "help": (
                "gated_distill: the reward that opens the gate and says what is right: one of `reward_funcs` by its short "
                "name, or `total`, their weighted sum, which is the official code's rule [ours]."
            )
        },
    )
    distill_weight: float = field(
        default=1.0, metadata={"help": "gated_distill: weight of the distillation loss, 0 or more [C code]."}
    )
    distill_beta: float = field(
        default=0.5,
        metadata={
            "help": (
                "gated_distill: b of the generalised Jensen-Shannon divergence, 0 to 1: 0 is KL(teacher||student), 1 is "
                "KL(student||teacher) [C code]."
            )
        },
    )
    distill_temperature: float = field(
        default=1.0, metadata={"help": "gated_distill: temperature of both distributions, above 0 [C code]."}
    )
    teacher_pass: Literal["micro_batch", "step"] = field(
        default="micro_batch",
        metadata={
            "help": (
                "gated_distill: a teacher reads the completions of a micro-batch, or of the whole step at once, which moves the "
                "weights of an offloaded teacher once a step; its states are then kept until the step is learnt [ours]."
            )
        },
    )
    teacher_states: Literal["own", "bf16"] = field(
        default="own",
        metadata={"help": "gated_distill: precision of the states that `teacher_pass: step` keeps [ours]."},
    )
    rl_weight: float = field(
        default=1.0,
        metadata={"help": "gated_distill: weight of the policy loss; 0 is gated on-policy distillation alone [ours]."},
    )
    step_weighting: bool = field(
        default=False,
        metadata={
            "help": (
                "gated_distill: weight the distillation of each line of a completion by how near the policy is to the teacher "
                "there (SOD, arXiv 2605.07725) [C code]."
            )
        },
    )
    hint_samples: int = field(
        default=2,
        metadata={"help": "gated_distill: K, hinted completions a prompt at most; 0 turns exploration off [C code]."},
    )
    hint_max_attempts: int = field(
        default=5, metadata={"help": "gated_distill: attempts at K right hinted completions, 1 or more [C code]."}
    )
    hint_trigger: Literal["no_success", "always", "all_zero"] = field(
        default="no_success",
        metadata={
            "help": (
                "gated_distill: explore for prompts whose completions are all wrong, for all prompts, or for those whose "
                "completions have no reward at all (the official rule); `all_zero` [C code], the default is [ours]."
            )
        },
    )
    hint_variant: Literal["hint_and_answer", "hint"] = field(
        default="hint_and_answer",
        metadata={
            "help": "gated_distill: what the student is shown: hint and gold answer, or the hint alone [C code]."
        },
    )
    hint_language: Literal["en", "zh"] = field(
        default="en", metadata={"help": "gated_distill: language of our own prompts for hints [ours]."}
    )
    hint_prompt: str | None = field(
        default=None,
        metadata={"help": "gated_distill: Jinja file of what the teacher is asked; null is ours [ours]."},
    )
    hinted_prompt: str | None = field(
        default=None,
        metadata={"help": "gated_distill: Jinja file of what the student is asked with a hint; null is ours [ours]."},
    )
    hint_tags: bool = field(
        default=True,
        metadata={"help": "gated_distill: a hint is between <hint> tags; false takes the whole text [ours]."},
    )
    hint_max_new_tokens: int = field(
        default=256, metadata={"help": "gated_distill: length at which a hint is cut, 1 or more [ours]."}
    )
    hint_temperature: float = field(
        default=0.7, metadata={"help": "gated_distill: temperature of the teacher for hints, 0 is greedy [ours]."}
    )


LOWEST = {  # key -> lowest value, and whether the value itself is allowed
    "distill_weight": (0, True),
    "distill_temperature": (0, False),
    "rl_weight": (0, True),
    "hint_samples": (0, True),
    "hint_max_attempts": (1, True),
    "hint_max_new_tokens": (1, True),
    "hint_temperature": (0, True),
}


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a gated_distill run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings)
    yield from signal_problems(settings)
    yield from ratio_problems(settings)
    yield from out_of_range(settings, LOWEST)
    if not 0 <= settings["distill_beta"] <= 1:
        remedy = "0 is KL(teacher||student), 1 is KL(student||teacher), between them a mixture."
        yield Problem("distill_beta", settings["distill_beta"], "a number from 0 to 1", remedy)
    if settings["gate_threshold"] == float("inf"):
        remedy = "No reward is infinite; use `-.inf` to distil every completion."
        yield Problem("gate_threshold", settings["gate_threshold"], "a finite number or -.inf", remedy)
    yield from _nothing_to_learn(settings)
    yield from _gate_reward(settings)
    yield from _hints(settings)


def _nothing_to_learn(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["teacher_states"] != "own" and settings["teacher_pass"] != "step":
        remedy = "Nothing is kept otherwise; set `teacher_pass: step`, or remove this key."
        yield Problem("teacher_states", settings["teacher_states"], "`own` with `teacher_pass: micro_batch`", remedy)
    if settings["rl_weight"] == 0 and (settings["teacher"] is None or settings["distill_weight"] == 0):
        remedy = "Give a `teacher` with `distill_weight` above 0, or an `rl_weight` above 0."
        yield Problem("rl_weight", 0, "above 0 where nothing is distilled", remedy)


def _gate_reward(settings: Mapping[str, Any]) -> Iterator[Problem]:
    names = [str(spec).rpartition(":")[2] for spec in as_list(settings["reward_funcs"]) or []]
    if names and settings["gate_reward"] not in ("total", *names):
        remedy = f"Choose one of `reward_funcs` ({', '.join(names)}) or `total`, or add it to `reward_funcs`."
        yield Problem("gate_reward", settings["gate_reward"], "a reward of this run", remedy)


def _hints(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["hint_samples"] >= settings["num_generations"]:
        remedy = "A group keeps at least one completion of the policy's own."
        yield Problem("hint_samples", settings["hint_samples"], "less than `num_generations`", remedy)
