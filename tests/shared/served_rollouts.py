"""Keys of rollouts on the stand-in server, and an engine that writes again what a server has written."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from llamafactory_hind.config.keys.rollout_server import OWN
from llamafactory_hind.engines.interface import Capabilities, Completion, Prompt, Sampling
from llamafactory_hind.engines.open import RolloutEngines
from llamafactory_hind.engines.vllm.engine import VllmEngine
from llamafactory_hind.engines.vllm.probe import own_logps
from llamafactory_hind.trainers.rollouts.batch import prompt_of
from shared.rollouts import RolloutSetup


LORA = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"}
FULL = {"finetuning_type": "full", "freeze_vision_tower": False}
HOW = Sampling(n=3, temperature=0.9, top_p=1.0, top_k=0, max_new_tokens=6, seed=2)
KINDS = ("image", "two_images", "text")


def served(setup: RolloutSetup, out: Path, *servers: Any, **keys: Any) -> RolloutEngines:
    """Open the engine of a run whose servers these are."""
    given = {
        **OWN,
        "rollout_engine": "vllm",
        "rollout_server": [server.url for server in servers],
        "rollout_temperature": 0.9,
        "rollout_top_p": 1.0,
        "rollout_top_k": 0,
        "rollout_timeout": 60.0,
        **keys,
    }
    return RolloutEngines.of(SimpleNamespace(**given), setup.loaded, output_dir=str(out))


def prompts(setup: RolloutSetup) -> list[Prompt]:
    return [prompt_of(feature) for feature in setup.features(KINDS)]


def difference(setup: RolloutSetup, asked: list[Prompt], groups: list[list[Any]]) -> float:
    """The largest difference between the server's log-probs and those of the policy."""
    rows = [
        (replace(prompt, answer_ids=list(each.token_ids)), each.sampling_logps)
        for prompt, group in zip(asked, groups, strict=True)
        for each in group
    ]
    ours = own_logps(setup.loaded, [row for row, _ in rows], temperature=0.9, precision=torch.no_grad())
    pairs = zip(ours, (logps for _, logps in rows), strict=True)
    return max(abs(one - two) for own, theirs in pairs for one, two in zip(own, theirs, strict=True))


def nudge(model: torch.nn.Module, seed: int) -> None:
    """Move the trained weights far enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


class Recorder:
    """Keeps what an engine writes."""

    def __init__(self, engine: VllmEngine) -> None:
        self.engine, self.groups = engine, {}
        self._real = engine.generate_prompts
        engine.generate_prompts = self.generate_prompts

    def generate_prompts(self, prompts: Sequence[Prompt], keys: Sequence[str], sampling: Sampling, **more: Any) -> Any:
        groups = self._real(prompts, keys, sampling, **more)
        self.groups.update(zip(keys, groups, strict=True))
        return groups


class Replay:
    """An engine of the policy itself that writes what was recorded."""

    capabilities = Capabilities(texts=True, scores=False, images=True, videos=True, token_ids=True, syncs=True)

    def __init__(self, groups: dict[str, list[Completion]]) -> None:
        self.groups = groups

    def generate_prompts(self, prompts: Sequence[Prompt], keys: Sequence[str], sampling: Sampling, **more: Any) -> Any:
        return [[replace(completion, sampling_logps=()) for completion in self.groups[key]] for key in keys]

    def sync(self, model: Any) -> None:
        pass
