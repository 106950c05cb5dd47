"""Entropy bonus: the policy is paid for staying undecided (A3C, arXiv 1602.01783, section 4; `entropy_coeff` of verl)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..engines.local.scoring import CHUNK_TOKENS
from ..losses.entropy import linear_entropy
from ..trainers.rollouts.batch import RolloutBatch
from ..trainers.rollouts.components import Component
from .comparison import teaching_mask


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ..trainers.rollouts.annotator import TokenObjective

ENTROPY = "entropy"  # token stream


class Entropy:
    """A `TokenObjective` with one stream, the entropy of the policy's distribution at every token, in nats.

    Args:
        temperature: of the distribution.
    """

    def __init__(self, temperature: float) -> None:
        """Keep the temperature."""
        self.temperature = temperature

    def prepare(self, batch: RolloutBatch) -> None:
        """Need nothing."""

    def compute(
        self, hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor, prepared: Any
    ) -> dict[str, torch.Tensor]:
        """Return the stream; see `TokenObjective`."""
        scaled = {**head, "temperature": head["temperature"] * self.temperature}
        return {ENTROPY: linear_entropy(hidden, chunk_tokens=CHUNK_TOKENS, **scaled)}

    def clear(self) -> None:
        """Keep nothing."""


class Together:
    """Several `TokenObjective`s as one; the names of their streams differ.

    Args:
        objectives: one or more.
    """

    def __init__(self, *objectives: "TokenObjective") -> None:
        """Keep them."""
        self.objectives = objectives

    def prepare(self, batch: RolloutBatch) -> list[Any]:
        """Let each prepare."""
        return [each.prepare(batch) for each in self.objectives]

    def compute(
        self, hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor, prepared: list[Any]
    ) -> dict[str, torch.Tensor]:
        """Return the streams of all."""
        streams: dict[str, torch.Tensor] = {}
        for each, own in zip(self.objectives, prepared, strict=True):
            streams |= each.compute(hidden, head, targets, own)
        return streams

    def clear(self) -> None:
        """Let each forget."""
        for each in self.objectives:
            each.clear()


def entropy_components(finetuning_args: "FinetuningArguments") -> list[Component]:
    """Return -H, to be minimised; nothing where `entropy_coef` is 0, so that no entropy is computed."""
    if not finetuning_args.entropy_coef:
        return []
    return [
        Component(
            "entropy_bonus",
            finetuning_args.entropy_coef,
            lambda logps, old_logps, ref_logps, batch: -batch.token_streams[ENTROPY],
            finetuning_args.loss_reduction,
            mask=teaching_mask(finetuning_args),
        )
    ]


def with_entropy(
    finetuning_args: "FinetuningArguments", objective: "TokenObjective | None" = None
) -> "TokenObjective | None":
    """Return the objective of a stage, with the entropy beside it where `entropy_coef` asks for it."""
    if not finetuning_args.entropy_coef:
        return objective
    entropy = Entropy(finetuning_args.rollout_temperature)
    return entropy if objective is None else Together(objective, entropy)
