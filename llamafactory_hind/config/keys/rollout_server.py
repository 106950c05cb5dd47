"""Keys of rollouts that a vLLM server writes, and what cannot work together among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..limits import out_of_range
from ..problem import Problem
from ..types import as_list


@dataclass
class RolloutServerArguments:
    """What writes rollouts, how it gets the policy's weights, and how the difference of both is corrected."""

    rollout_engine: Literal["hf", "vllm"] = field(
        default="hf",
        metadata={
            "help": "Online stages: what writes the completions: `hf`, the policy itself, or `vllm`, a server [ours]."
        },
    )
    rollout_server: list[str] | None = field(
        default=None,
        metadata={
            "help": "vllm: address of a server, such as http://127.0.0.1:8000, or a list of servers of one model [ours]."
        },
    )
    rollout_api_key_env: str | None = field(
        default=None,
        metadata={"help": "vllm: NAME of the environment variable with the API key; null sends none [ours]."},
    )
    rollout_sync: Literal["auto", "lora", "full"] = field(
        default="auto",
        metadata={
            "help": (
                "vllm: send the adapter alone (`lora`) or the whole model (`full`); `auto` is `lora` where vLLM can serve the "
                "adapter [ours]."
            )
        },
    )
    rollout_sync_every: int = field(
        default=1,
        metadata={"help": "vllm: optimiser steps between two syncs; above 1 is off-policy on purpose [ours]."},
    )
    rollout_sync_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "vllm: folder that trainer and servers see under one path; null is `rollout_weights` in `output_dir` [ours]."
            )
        },
    )
    rollout_correction: Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] = field(
        default="token_truncate",
        metadata={
            "help": (
                "vllm: weight of a token's loss by the ratio of trainer to server: cut at the cap, or 0 above it, a token or a "
                "completion at a time (names of TRL) [ours]."
            )
        },
    )
    rollout_correction_cap: float = field(
        default=2.0, metadata={"help": "vllm: largest weight of `rollout_correction`; 2.0 as TRL and ms-swift [ours]."}
    )
    rollout_ahead: int = field(
        default=0,
        metadata={
            "help": (
                "vllm: 1 writes the next step's completions while this step is learnt from, with weights that are one step old; "
                "0 is off [ours]."
            )
        },
    )
    rollout_timeout: float = field(
        default=600.0,
        metadata={"help": "vllm: seconds that one request, or one sync, may take; a lost server gets as long [ours]."},
    )
    rollout_max_retries: int = field(
        default=2, metadata={"help": "vllm: times that a failed request is sent again [ours]."}
    )


LOWEST = {
    "rollout_sync_every": (1, True),
    "rollout_ahead": (0, True),
    "rollout_correction_cap": (0, False),
    "rollout_timeout": (0, False),
    "rollout_max_retries": (0, True),
}
OWN = {entry.name: entry.default for entry in fields(RolloutServerArguments)}


def rollout_server_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together: our keys with their defaults, the host's as given."""
    yield from out_of_range(settings, LOWEST)
    if settings["rollout_engine"] != "vllm":
        for key, default in OWN.items():
            if settings[key] != default:
                remedy = "Nothing reads it without a server; set `rollout_engine: vllm`, or remove this key."
                yield Problem(key, settings[key], "`rollout_engine: vllm` beside it", remedy)
        return
    if not as_list(settings["rollout_server"]):
        remedy = "For example `rollout_server: http://127.0.0.1:8000`; docs/rollouts.md starts one."
        yield Problem("rollout_server", settings["rollout_server"], "an address with `rollout_engine: vllm`", remedy)
    yield from _uncorrectable(settings)
    yield from _sync(settings)
    yield from _ahead(settings)
    if settings.get("temporal_weight"):
        remedy = "It shuffles the frames of videos, which a server samples by itself; set `rollout_engine: hf`."
        yield Problem("temporal_weight", settings["temporal_weight"], "0 with `rollout_engine: vllm`", remedy)


def _uncorrectable(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """The server's log-probs are those of the tokens that top-p and top-k leave: no ratio can be taken with them."""
    if settings["rollout_correction"] == "none":
        return
    for key, off in (("rollout_top_p", 1.0), ("rollout_top_k", 0)):
        if settings[key] != off:
            remedy = f"The server's log-probs are then not those of the policy. Set `{key}: {off}`, or `rollout_correction: none`."
            yield Problem(key, settings[key], f"{off} with `rollout_correction`", remedy)


def _ahead(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if not settings["rollout_ahead"]:
        return
    if settings["rollout_ahead"] > 1:
        yield Problem("rollout_ahead", settings["rollout_ahead"], "0 or 1", "Older weights are not corrected well.")
    if settings["rollout_correction"] == "none":
        remedy = "Completions of older weights need it; the default is `token_truncate`."
        yield Problem("rollout_correction", "none", "another value with `rollout_ahead: 1`", remedy)
    if settings.get("num_iterations", 1) > 1:
        remedy = "Both learn from older completions; remove one of the two."
        yield Problem("num_iterations", settings["num_iterations"], "1 with `rollout_ahead: 1`", remedy)


def _sync(settings: Mapping[str, Any]) -> Iterator[Problem]:
    reasons = list(_not_lora(settings))
    if settings["rollout_sync"] == "lora":
        for key, why in reasons:
            yield Problem(
                key, settings.get(key), "another value with `rollout_sync: lora`", f"{why} Set `rollout_sync: full`."
            )
    elif (settings["rollout_sync"] == "full" or reasons) and settings.get("quantization_bit"):
        remedy = "The server needs whole weights, and quantised ones are not. Train a LoRA with `rollout_sync: lora`."
        yield Problem("quantization_bit", settings["quantization_bit"], "null with `rollout_sync: full`", remedy)
    every, saves = settings["rollout_sync_every"], settings.get("save_steps")
    if every > 1 and isinstance(saves, int) and saves % every:
        remedy = "A run resumed between two syncs has no more the weights that wrote its rollouts."
        yield Problem("save_steps", saves, f"a multiple of `rollout_sync_every`, {every}", remedy)


def _not_lora(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say which keys make an adapter that vLLM does not serve, or would serve wrongly, and why."""
    if settings.get("finetuning_type", "lora") != "lora":
        yield "finetuning_type", "Only an adapter can be sent alone."
    if settings.get("use_dora"):
        yield "use_dora", "vLLM serves no DoRA."
    if settings.get("additional_target"):
        yield "additional_target", "vLLM serves no whole modules beside an adapter."
    if settings.get("freeze_vision_tower") is False:
        yield "freeze_vision_tower", "vLLM takes an adapter of the vision tower and ignores it."
    if settings.get("freeze_multi_modal_projector") is False:
        yield "freeze_multi_modal_projector", "vLLM takes an adapter of the projector and ignores it."
