"""A tiny Qwen2.5-VL, prompts of every kind of media and a rollout trainer over them, for tests of the online stages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer
from transformers import TrainingArguments

from llamafactory_hind.engines.interface import FinishReason
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.engines.open import RolloutEngines
from llamafactory_hind.losses.policy import clipped_surrogate, group_advantages, k3_kl
from llamafactory_hind.trainers.rollouts.annotator import Annotator
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch, batch_of, prompt_of
from llamafactory_hind.trainers.rollouts.components import Component
from llamafactory_hind.trainers.rollouts.description import RunDescription
from llamafactory_hind.trainers.rollouts.records import Annotation, Rollout, Scores
from llamafactory_hind.trainers.rollouts.trainer import RolloutTrainer
from llamafactory_hind.trainers.rollouts.writing import RolloutOptions


KINDS = ("image", "two_images", "video", "text")


@dataclass
class GroupRelative(Annotator):
    """An annotator for tests: rewards from a function of the token ids of a completion."""

    reward: Callable[[list[int]], float]
    reduction: str = "token"
    kl_beta: float = 0.0
    scale: str = "std"
    components: list[Component] = field(init=False)

    def __post_init__(self) -> None:
        self.components = [
            Component(
                "policy",
                1.0,
                lambda logps, old, ref, batch: clipped_surrogate(
                    logps, old, batch.advantages, clip_low=0.2, clip_high=0.2
                ),
                self.reduction,
            ),
            Component("kl", self.kl_beta, lambda logps, old, ref, batch: k3_kl(logps, ref), self.reduction,
                      needs_reference=True),
        ]  # fmt: skip

    def score(self, rollouts: list[Rollout]) -> Scores:
        totals = torch.tensor(
            [[self.reward(ids) for ids in rollout.completion_ids] for rollout in rollouts], dtype=torch.float64
        )
        return Scores(totals, {"own": totals})

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        scores = self.score(rollouts)
        return Annotation(rollouts, scores, group_advantages(scores.total, scale=self.scale).float())


def even_share(ids: list[int]) -> float:
    """A reward that differs between most completions."""
    return sum(token % 2 == 0 for token in ids) / len(ids)


@dataclass
class RolloutSetup:
    """`features(kinds)` gives one processed prompt a kind; `batch(...)` invents completions for them."""

    world: Path
    attention: str = "sdpa"
    tuning: dict[str, Any] = field(default_factory=lambda: {"finetuning_type": "full", "freeze_vision_tower": False})
    checkpointing: bool = False

    @cached_property
    def model_args(self) -> ModelArguments:
        flash = {"sdpa": "sdpa", "eager": "disabled"}[self.attention]
        return ModelArguments(
            model_name_or_path=str(self.world / "tiny"),
            flash_attn=flash,
            disable_gradient_checkpointing=not self.checkpointing,
        )

    @cached_property
    def finetuning_args(self) -> FinetuningArguments:
        return FinetuningArguments(**self.tuning)

    @cached_property
    def loaded(self) -> LoadedModel:
        torch.manual_seed(0)
        modules = load_tokenizer(self.model_args)
        template = get_template_and_fix_tokenizer(modules["tokenizer"], DataArguments(template="qwen2_vl"))
        model = load_model(modules["tokenizer"], self.model_args, self.finetuning_args, is_trainable=True)
        return LoadedModel(model, modules["tokenizer"], modules["processor"], template)

    @property
    def model(self) -> torch.nn.Module:
        return self.loaded.model

    def features(self, kinds: Sequence[str] = KINDS) -> list[dict[str, Any]]:
        images = sorted(str(path) for path in (self.world / "images").glob("*.png"))
        video = str(next((self.world / "clips").glob("*.mp4")))
        media = {
            "image": ("<image>What does the thing eat?", images[:1], []),
            "two_images": ("<image><image>Which of the two is red?", images[1:3], []),
            "video": ("<video>What moves first?", [], [video]),
            "text": ("What does a dax fear?", [], []),
        }
        return [self._feature(number, kind, *media[kind]) for number, kind in enumerate(kinds)]

    def _feature(self, number: int, kind: str, question: str, images: list, videos: list) -> dict[str, Any]:
        loaded = self.loaded
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": ""}]
        messages = loaded.template.mm_plugin.process_messages(messages, images, videos, [], loaded.processor)
        prompt, _ = loaded.template.encode_oneturn(loaded.tokenizer, messages)
        return {
            "prompt_input_ids": prompt,
            "images": images,
            "videos": videos,
            "audios": [],
            "columns": json.dumps({"kind": kind, "answer": "moss"}),
            "row_id": f"row-{number}",
        }

    def rollouts(self, features: Sequence[dict[str, Any]], *, group: int = 3, seed: int = 0) -> list[Rollout]:
        """Groups of invented completions of different lengths."""
        generator = torch.Generator().manual_seed(seed)
        found = []
        for feature in features:
            lengths = torch.randint(1, 9, (group,), generator=generator).tolist()
            ids = [torch.randint(20, 400, (length,), generator=generator).tolist() for length in lengths]
            texts = [self.loaded.tokenizer.decode(some) for some in ids]
            found.append(
                Rollout(feature, prompt_of(feature), ids, texts, [FinishReason.STOP] * group, ["policy"] * group)
            )
        return found

    def batch(self, kinds: Sequence[str] = KINDS, *, group: int = 3, seed: int = 0) -> RolloutBatch:
        rollouts = self.rollouts(self.features(kinds), group=group, seed=seed)
        annotation = GroupRelative(even_share).annotate(rollouts)
        return batch_of(annotation, device=torch.device("cpu"))

    def trainer(
        self,
        out: Path,
        *,
        annotator: Any = None,
        engines: RolloutEngines | None = None,
        reference: torch.nn.Module | None = None,
        features: Sequence[dict[str, Any]] | None = None,
        options: dict[str, Any] | None = None,
        callbacks: Sequence[Any] = (),
        eval_dataset: Sequence[dict[str, Any]] | None = None,
        described: RunDescription | None = None,
        **arguments: Any,
    ) -> RolloutTrainer:
        defaults = {
            "per_device_train_batch_size": 2,
            "max_steps": 2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "remove_unused_columns": False,
            "learning_rate": 1.0e-3,
            "lr_scheduler_type": "constant",
            "disable_tqdm": True,
            "seed": 5,
        }
        made = {
            "num_generations": 3,
            "temperature": 0.9,
            "top_p": 1.0,
            "top_k": 0,
            "max_new_tokens": 6,
            "num_iterations": 1,
            "share_prefix": "auto",
        }
        return RolloutTrainer(
            annotator=annotator or GroupRelative(even_share),
            options=RolloutOptions(**{**made, **(options or {})}),
            loaded=self.loaded,
            engines=engines or RolloutEngines.of(SimpleNamespace(rollout_engine="hf"), self.loaded),
            reference=reference,
            finetuning_args=self.finetuning_args,
            args=TrainingArguments(output_dir=str(out), **{**defaults, **arguments}),
            train_dataset=list(features if features is not None else self.features()),
            eval_dataset=eval_dataset,
            described=described,
            callbacks=list(callbacks),
        )
