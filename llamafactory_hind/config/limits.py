"""Checks that several stages share: ranges of numbers, keys of the host that a stage cannot honour, DeepSpeed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .problem import Problem


HOST_STAGE_KEYS = {  # beginnings of keys that only a stage of the host reads
    "pref_": "dpo",
    "simpo_": "dpo",
    "ld_alpha": "dpo",
    "kto_": "kto",
    "ppo_": "ppo",
    "reward_model": "ppo",
}
UNSUPPORTED = {  # keys that must be unset or false with every stage of ours -> why, and what to do
    "use_dft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_asft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_eaft_loss": "It replaces the loss of `stage: sft`; remove it.",
    "use_hyper_parallel": "HyperParallel runs `stage: sft` only; use DDP or DeepSpeed ZeRO-2.",
}
Lowest = Mapping[str, tuple[float, bool]]  # key -> lowest value, and whether the value itself is allowed


def out_of_range(
    settings: Mapping[str, Any], lowest: Lowest, why: Mapping[str, str] | None = None
) -> Iterator[Problem]:
    """Find numbers that are too small; `why` has remedies in place of the usual one."""
    for key, (least, inclusive) in lowest.items():
        value = settings[key]
        if value < least or (value == least and not inclusive):
            expected = f"{least} or more" if inclusive else f"a number above {least}"
            yield Problem(key, value, expected, (why or {}).get(key, "Change it, or remove it for the default."))


def host_keys(
    settings: Mapping[str, Any],
    stage: str,
    *,
    instead: Mapping[str, str],
    unsupported: Mapping[str, str],
    neutral: Mapping[str, object],
) -> Iterator[Problem]:
    """Find keys of the host that this stage cannot honour.

    Args:
        settings: key -> value; null is unset.
        stage: ours.
        instead: keys with another one in their place here -> what to use.
        unsupported: keys that must be unset or false, beside `UNSUPPORTED` -> why, and what to do.
        neutral: key of `instead` -> a value that does nothing.
    """
    for key, remedy in {**unsupported, **UNSUPPORTED}.items():
        if settings.get(key):
            yield Problem(key, settings[key], f"unset or false with `stage: {stage}`", remedy)
    for key, value in settings.items():
        if value is None or (key in neutral and value == neutral[key]):
            continue
        host_stage = next((name for start, name in HOST_STAGE_KEYS.items() if key.startswith(start)), None)
        if key in instead:
            yield Problem(key, value, f"unset with `stage: {stage}`", instead[key])
        elif host_stage is not None:
            remedy = f"Only the host's `stage: {host_stage}` reads it; remove it."
            yield Problem(key, value, f"unset with `stage: {stage}`", remedy)


def reference_keys(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find keys of a reference model where there is none."""
    for key in ("ref_model_adapters", "ref_model_quantization_bit"):
        if settings.get(key) is not None and settings.get("ref_model") is None:
            yield Problem(key, settings[key], "`ref_model` beside it", "Set `ref_model`, or remove this key.")


def zero_3(settings: Mapping[str, Any], remedy: str) -> Iterator[Problem]:
    """Find a DeepSpeed configuration with ZeRO-3."""
    if zero_stage(settings.get("deepspeed")) == 3:
        yield Problem("deepspeed", settings["deepspeed"], "ZeRO stage 0, 1 or 2", remedy)


def zero_stage(deepspeed: Any) -> int | None:
    """Return the ZeRO stage of the host's `deepspeed` key: a path or a mapping; None where it names none.

    A file that cannot be read has no stage here: the host reports it in its own words.
    """
    if isinstance(deepspeed, str):
        try:
            deepspeed = json.loads(Path(deepspeed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
    zero = deepspeed.get("zero_optimization") if isinstance(deepspeed, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return stage if isinstance(stage, int) else None
