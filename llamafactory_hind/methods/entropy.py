"""Entropy bonus: the policy is paid for staying undecided (A3C, arXiv 1602.01783, section 4; `entropy_coeff` of verl).

Its coefficient is a constant, or follows a target (`losses.entropy_control`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..engines.local.scoring import CHUNK_TOKENS
from ..losses.entropy import linear_entropy
from ..losses.entropy_control import active_coefficient, adapted_coefficient
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


class EntropyTarget:
    """The coefficient of the bonus as a `Control`: it rises while the entropy is below the target, and falls while it is above.

    A step takes the entropy that the step before had [ours]; the first step has `entropy_coef`.

    Args:
        finetuning_args: with `entropy_coef`, `entropy_target` and `entropy_target_step`.
    """

    name = "entropy_coef"

    def __init__(self, finetuning_args: "FinetuningArguments") -> None:
        """Start at `entropy_coef`."""
        self.target, self.step = float(finetuning_args.entropy_target), finetuning_args.entropy_target_step
        self.coefficient: float = finetuning_args.entropy_coef
        self.entropy: float | None = None
        self._teaching = teaching_mask(finetuning_args)

    @property
    def value(self) -> float:
        """What the bonus counts in this step."""
        return active_coefficient(self.coefficient, self.entropy, target=self.target)

    def measure(self, batch: RolloutBatch) -> tuple[float, float]:
        """Return the sum of the entropies of the tokens that teach, and their number."""
        mask = batch.mask if self._teaching is None else batch.mask & self._teaching(batch).bool()
        found = batch.token_streams[ENTROPY].detach()
        return torch.where(mask, found, 0.0).sum(dtype=torch.float64).item(), float(mask.sum())

    def follow(self, mean: float) -> None:
        """Move by one step."""
        self.entropy = mean
        self.coefficient = adapted_coefficient(self.coefficient, mean, target=self.target, step=self.step)

    def state(self) -> dict[str, float | None]:
        """Return the coefficient and the entropy that it has seen."""
        return {"coefficient": self.coefficient, "entropy": self.entropy}

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Go on from there."""
        self.coefficient, self.entropy = float(state["coefficient"] or 0.0), state["entropy"]


def entropy_controls(finetuning_args: "FinetuningArguments") -> list[EntropyTarget]:
    """Return the control of the bonus; nothing where `entropy_target` is off."""
    return [] if finetuning_args.entropy_target is None else [EntropyTarget(finetuning_args)]


def entropy_components(
    finetuning_args: "FinetuningArguments", controls: Sequence[EntropyTarget] = ()
) -> list[Component]:
    """Return -H, to be minimised; nothing where neither `entropy_coef` nor a target is set, so that no entropy is computed.

    Args:
        finetuning_args: with the keys of the stage.
        controls: see `entropy_controls`; the first one weighs the bonus.
    """
    if not controls and not finetuning_args.entropy_coef:
        return []
    return [
        Component(
            "entropy_bonus",
            1.0 if controls else finetuning_args.entropy_coef,
            lambda logps, old_logps, ref_logps, batch: -batch.token_streams[ENTROPY],
            finetuning_args.loss_reduction,
            mask=teaching_mask(finetuning_args),
            control=controls[0] if controls else None,
        )
    ]


def with_entropy(
    finetuning_args: "FinetuningArguments", objective: "TokenObjective | None" = None
) -> "TokenObjective | None":
    """Return the objective of a stage, with the entropy beside it where `entropy_coef` or `entropy_target` asks for it."""
    if not finetuning_args.entropy_coef and finetuning_args.entropy_target is None:
        return objective
    entropy = Entropy(finetuning_args.rollout_temperature)
    return entropy if objective is None else Together(objective, entropy)
