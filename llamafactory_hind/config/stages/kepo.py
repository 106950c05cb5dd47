"""Keys of `stage: kepo`, Knowledge Encouragement Preference Optimization (HinD, arXiv 2511.11132).

The paper's constants could not be read; the defaults are our own choice, marked [ours].
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..limits import zero_stage
from ..problem import Problem


@dataclass
class KepoArguments:
    """Knowledge Encouragement Preference Optimization (HinD)."""

    kepo_beta: float = field(
        default=0.1,
        metadata={"help": "kepo (HinD): how strongly the policy is held to its reference, above 0 [ours]."},
    )
    kepo_loss: Literal["sigmoid", "length_normalized"] = field(
        default="sigmoid",
        metadata={
            "help": "kepo (HinD): loss of a pair; `length_normalized` divides each log-ratio by its tokens [ours]."
        },
    )
    kepo_gap_weight: bool = field(
        default=False,
        metadata={"help": "kepo (HinD): weight a pair by sigmoid(confidence rejected - confidence chosen) [ours]."},
    )
    kepo_nll_weight: float = field(
        default=0.0,
        metadata={"help": "kepo (HinD): weight of the mean token NLL of the chosen text, 0 or more [ours]."},
    )
    ref_logps_cache: str | None = field(
        default="auto",
        metadata={
            "help": (
                "kepo (HinD): file that keeps the reference log-probs, computed once and reused while model, template, "
                "pixels and rows are the same. `auto` is ref_logps.jsonl in `output_dir` [ours]."
            )
        },
    )


INSTEAD = {  # the host's own preference keys, and what to use here
    "pref_beta": "Use `kepo_beta`.",
    "pref_loss": "Use `kepo_loss`.",
    "pref_ftx": "Use `kepo_nll_weight`.",
    "dpo_label_smoothing": "kepo has no label smoothing; remove it.",
    "label_smoothing_factor": "kepo has no label smoothing; remove it.",
}
HOST_STAGE_KEYS = {  # beginnings of keys that only a stage of the host reads
    "pref_": "dpo",
    "simpo_": "dpo",
    "ld_alpha": "dpo",
    "kto_": "kto",
    "ppo_": "ppo",
    "reward_model": "ppo",
}
UNSUPPORTED = {  # keys that must be unset or false -> why, and what to do
    "streaming": "Reference log-probs are computed once over a finite set; set `streaming: false`.",
    "packing": "A batch row is one pair; remove it (`share_prefix` is kepo's way to pack).",
    "neat_packing": "A batch row is one pair; remove it (`share_prefix` is kepo's way to pack).",
    "train_on_prompt": "A pair compares answers to one prompt; remove it.",
    "mask_history": "Only the two answers are scored; remove it.",
    "predict_with_generate": "kepo writes no text; evaluate generation with `stage: sft`.",
    "do_predict": "kepo writes no text; use `do_eval: true` here, or predict with `stage: sft`.",
    "pissa_init": "PiSSA changes the base weights, which the reference needs; train a plain LoRA.",
    "pissa_convert": "PiSSA changes the base weights, which the reference needs; train a plain LoRA.",
    "group_by_length": "A pair has no single length; remove it.",
    "use_dft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_asft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_eaft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_hyper_parallel": "HyperParallel runs `stage: sft` only; use DDP or DeepSpeed ZeRO-2.",
}


def kepo_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of a kepo run: our keys with their defaults, the host's as given."""
    beta, nll_weight, cache = (settings[key] for key in ("kepo_beta", "kepo_nll_weight", "ref_logps_cache"))
    if beta <= 0:
        yield Problem("kepo_beta", beta, "a number above 0", "The default is 0.1.")
    if nll_weight < 0:
        yield Problem("kepo_nll_weight", nll_weight, "a number of 0 or more", "0 turns the anchor off.")
    if cache is not None and os.path.isdir(cache):
        yield Problem("ref_logps_cache", cache, "`auto` or the path of a file", "This is a folder; name a file in it.")
    yield from _host_keys(settings)
    if zero_stage(settings.get("deepspeed")) == 3:
        yield Problem(
            "deepspeed",
            settings["deepspeed"],
            "ZeRO stage 0, 1 or 2",
            "kepo does not support ZeRO-3 yet; use a ZeRO-2 configuration.",
        )


def _host_keys(settings: Mapping[str, Any]) -> Iterator[Problem]:
    for key, remedy in UNSUPPORTED.items():
        if settings.get(key):
            yield Problem(key, settings[key], "unset or false with `stage: kepo`", remedy)
    for key, value in settings.items():
        if key in INSTEAD and value is not None and not (key == "label_smoothing_factor" and value == 0):
            yield Problem(key, value, "unset with `stage: kepo`", INSTEAD[key])
        elif value is not None and (stage := _stage_of_host_key(key)):
            yield Problem(
                key, value, "unset with `stage: kepo`", f"Only the host's `stage: {stage}` reads it; remove it."
            )
    if settings.get("train_sampling_strategy") == "group_by_length":
        yield Problem(
            "train_sampling_strategy", "group_by_length", "`random`", "A pair has no single length to group by."
        )
    for key in ("ref_model_adapters", "ref_model_quantization_bit"):
        if settings.get(key) is not None and settings.get("ref_model") is None:
            yield Problem(key, settings[key], "`ref_model` beside it", "Set `ref_model`, or remove this key.")


def _stage_of_host_key(key: str) -> str | None:
    return next((stage for start, stage in HOST_STAGE_KEYS.items() if key.startswith(start)), None)
