"""Ways to split one model over processes: which of them a stage cannot work with, in the same words whoever asked for them.

A configuration file, the environment of a launcher (`accelerate launch`, `torchrun`) and, when it is there, the accelerator.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from .problem import Problem


Sharding = Literal["zero_3", "fsdp_1", "fsdp_2", "megatron"]
NAMES: dict[Sharding, str] = {
    "zero_3": "DeepSpeed ZeRO-3",
    "fsdp_1": "FSDP",
    "fsdp_2": "FSDP2",
    "megatron": "Megatron-LM",
}
WHOLE_WRITES = "Completions are written by the whole model; use DDP, a ZeRO-2 configuration, or FSDP2."
WHOLE_SCORES = "Reference log-probs are computed by the whole model; use DDP, a ZeRO-2 configuration, or FSDP2."
WHOLE_PROOF = "Shared prompts are proved with the whole model; use DDP, a ZeRO-2 configuration, or FSDP2."
WHOLE_HEADS = "The model is saved without its heads; use DDP, a ZeRO-2 configuration, or FSDP2."
WHOLE_MATCHING = "The model is saved without its heads, which needs it whole; use DDP or a ZeRO-2 configuration."
OWN_COPY = "The policy's weights are split while it learns; with a path, a copy of its own is loaded."
EVERY_READS = "Every process computes with the weights before they are split: without it, all of them read the file."
WHOLE_TOWERS = (
    "Not every process has pictures in every batch. Leave towers and projector frozen, or use DDP or ZeRO-2."
)
WHY_NOT: dict[str, dict[Sharding, str]] = {  # kind of rows -> what its stages cannot work with -> what to do
    "prompts": {kind: WHOLE_WRITES for kind in NAMES if kind != "fsdp_2"},
    "critic": {kind: WHOLE_HEADS for kind in NAMES if kind != "fsdp_2"},
    "matching": dict.fromkeys(NAMES, WHOLE_MATCHING),
    "pairs": {kind: WHOLE_SCORES for kind in NAMES if kind != "fsdp_2"},
    "multitask": {kind: WHOLE_PROOF for kind in NAMES if kind != "fsdp_2"},
}

ON = ("1", "true", "yes", "on", "y", "t")
# key, its value (... is any) -> what is expected, what to do
PROMPTS_AND_FSDP2: tuple[tuple[str, Any, str, str], ...] = (
    ("freeze_vision_tower", False, "true", WHOLE_TOWERS),
    ("freeze_multi_modal_projector", False, "true", WHOLE_TOWERS),
    ("loss_micro_batch", ..., "null", "Processes would take other numbers of passes. Lower the batch size instead."),
    ("rollout_engine", "vllm", "hf", "Weights are not sent to a server yet; use DDP or a ZeRO-2 configuration."),
)


def sharding_problem(sharding: Sharding, rows: str, key: str, value: object) -> Problem | None:
    """Return why a stage with such rows cannot work so, None where it can.

    Args:
        sharding: the way the model is split.
        rows: their kind, a key of `WHY_NOT`.
        key: what asks for it: a key, a variable of the environment, an attribute.
        value: its value.
    """
    remedy = WHY_NOT[rows].get(sharding)
    return None if remedy is None else Problem(key, value, f"no {NAMES[sharding]}", remedy)


def sharding_problems(settings: Mapping[str, Any], environ: Mapping[str, str], rows: str) -> Iterator[Problem]:
    """Find what a configuration and a launcher's environment ask for that a stage with such rows cannot do."""
    asked = [*_asked_by_settings(settings), *_asked_by_environment(environ)]
    if "fsdp_2" not in WHY_NOT[rows] and any(sharding == "fsdp_2" for sharding, _, _ in asked):
        yield from _fsdp2_problems(settings, environ, rows)
    for sharding, key, value in asked:
        problem = sharding_problem(sharding, rows, key, value)
        if problem is not None:
            yield problem
    if settings.get("fsdp_config") and not settings.get("fsdp"):
        yield Problem("fsdp_config", settings["fsdp_config"], "`fsdp` beside it", "Set `fsdp`, or remove this key.")


def _fsdp2_problems(settings: Mapping[str, Any], environ: Mapping[str, str], rows: str) -> Iterator[Problem]:
    for key, value, expected, remedy in PROMPTS_AND_FSDP2 if rows == "prompts" else ():
        if settings.get(key) is not None and (settings[key] == value or value is ...):
            yield Problem(key, settings[key], f"{expected} with FSDP2", remedy)
    if settings.get("teacher") == "base" and settings.get("finetuning_type", "lora") == "lora":
        yield Problem("teacher", "base", "the base's path with FSDP2 and an adapter", OWN_COPY)
    config = read_json(settings.get("fsdp_config")) or {}
    for key in ("cpu_ram_efficient_loading", "fsdp_cpu_ram_efficient_loading"):
        if str(config.get(key, "")).lower() in ON:
            yield Problem(f"fsdp_config.{key}", config[key], "false", EVERY_READS)
    if _is_on(environ, "FSDP_CPU_RAM_EFFICIENT_LOADING"):
        value = environ["FSDP_CPU_RAM_EFFICIENT_LOADING"]
        yield Problem("FSDP_CPU_RAM_EFFICIENT_LOADING", value, "false", EVERY_READS)


def _asked_by_settings(settings: Mapping[str, Any]) -> Iterator[tuple[Sharding, str, object]]:
    if settings.get("fsdp"):
        config = read_json(settings.get("fsdp_config")) or {}
        version = config.get("version", config.get("fsdp_version", 1))
        yield ("fsdp_2" if str(version) == "2" else "fsdp_1"), "fsdp", settings["fsdp"]
    if zero_stage(settings.get("deepspeed")) == 3:
        yield "zero_3", "deepspeed", settings["deepspeed"]


def _asked_by_environment(environ: Mapping[str, str]) -> Iterator[tuple[Sharding, str, object]]:
    """Read what `accelerate launch` sets for its processes, and what may be set by hand for `torchrun`."""
    if _is_on(environ, "ACCELERATE_USE_FSDP"):
        version = environ.get("FSDP_VERSION", "1")
        yield ("fsdp_2" if version == "2" else "fsdp_1"), "ACCELERATE_USE_FSDP", environ["ACCELERATE_USE_FSDP"]
    if _is_on(environ, "ACCELERATE_USE_DEEPSPEED"):
        stage = environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "")
        file = environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "")
        if stage == "3" or zero_stage(file) == 3:
            key = "ACCELERATE_DEEPSPEED_ZERO_STAGE" if stage == "3" else "ACCELERATE_DEEPSPEED_CONFIG_FILE"
            yield "zero_3", key, environ[key]
    if _is_on(environ, "ACCELERATE_USE_MEGATRON_LM"):
        yield "megatron", "ACCELERATE_USE_MEGATRON_LM", environ["ACCELERATE_USE_MEGATRON_LM"]


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in ON


def zero_stage(deepspeed: Any) -> int | None:
    """Return the ZeRO stage of the host's `deepspeed` key: a path or a mapping; None where it names none.

    A file that cannot be read has no stage here: the host reports it in its own words.
    """
    zero = (read_json(deepspeed) or {}).get("zero_optimization")
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return stage if isinstance(stage, int) else None


def read_json(given: Any) -> dict[str, Any] | None:
    """Return a mapping given as such or as the path of a JSON file; None for anything else."""
    if isinstance(given, str):
        try:
            given = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
    return given if isinstance(given, dict) else None
