"""Keys of `stage: external_grpo`, GRPO whose groups take in texts of other models (Vision-EKIPL, arXiv 2506.06856)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..keys.external_ratio import ExternalRatioArguments, ratio_problems
from ..keys.online import OnlineArguments, online_problems
from ..keys.share_prefix import SharePrefixArguments
from ..keys.signal import SignalArguments, signal_problems
from ..problem import Problem


LABEL = "GRPO with external actions (Vision-EKIPL)"
ROWS = "prompts"
TAKES = (SharePrefixArguments, OnlineArguments, SignalArguments, ExternalRatioArguments)


@dataclass
class Arguments:
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
        metadata={"help": "external_grpo: which candidates come first where rewards are equal [ours]."},
    )
    external_max_per_group: int | None = field(
        default=None,
        metadata={
            "help": "external_grpo: external actions in a group at most; null is no limit, 0 is plain GRPO [ours]."
        },
    )
    external_teacher: str | None = field(
        default=None,
        metadata={
            "help": (
                "external_grpo: another model that writes actions during training: a model folder or name, `base`, or a YAML "
                "file as for `teacher`; null takes those of the rows alone [ours]."
            )
        },
    )
    external_samples: int = field(
        default=1, metadata={"help": "external_grpo: actions that `external_teacher` writes for a row, once [ours]."}
    )
    external_temperature: float = field(
        default=0.7, metadata={"help": "external_grpo: sampling of `external_teacher`; 0 is greedy [ours]."}
    )


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of an external_grpo run: our keys with their defaults, the host's as given."""
    yield from online_problems(settings)
    yield from signal_problems(settings)
    yield from ratio_problems(settings)
    most = settings["external_max_per_group"]
    if most is not None and most < 0:
        yield Problem("external_max_per_group", most, "null, or 0 or more", "null is no limit, 0 is plain GRPO.")
    samples, temperature = settings["external_samples"], settings["external_temperature"]
    if samples < 1:
        yield Problem("external_samples", samples, "1 or more", "null for `external_teacher` asks for none.")
    if temperature < 0:
        yield Problem("external_temperature", temperature, "0 or more", "0 is greedy.")
    elif temperature == 0 and samples > 1:
        yield Problem("external_samples", samples, "1 with `external_temperature: 0`", "All would be the same.")
    if settings["external_teacher"] is not None and settings["external_ratio"] == "behavior":
        remedy = "q of a text that is wrapped into the layout is not known; use `plain` or `shaped`, or `synth` with `pipeline: external`."
        yield Problem("external_ratio", "behavior", "another ratio with `external_teacher`", remedy)
