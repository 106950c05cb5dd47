"""The parts of a group-relative loss (GRPO, arXiv 2402.03300) that stages combine."""

from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch

from ..losses.policy import clip_fractions, clipped_surrogate, k3_kl
from ..trainers.rollouts.batch import RolloutBatch
from ..trainers.rollouts.components import Component


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


class Clip(TypedDict):
    """The limits of a ratio: 1 - `clip_low` to 1 + `clip_high`."""

    clip_low: float
    clip_high: float


def policy_component(finetuning_args: "FinetuningArguments") -> Component:
    """Return the clipped surrogate."""
    clip = clip_of(finetuning_args)
    return Component(
        "policy",
        1.0,
        partial(surrogate, **clip),
        finetuning_args.loss_reduction,
        metrics=partial(ratio_metrics, **clip),
    )


def kl_components(finetuning_args: "FinetuningArguments") -> list[Component]:
    """Return the KL divergence from the reference; nothing where `kl_beta` is 0, so that no reference is computed."""
    if not finetuning_args.kl_beta:
        return []
    reduction = finetuning_args.loss_reduction
    return [Component("kl", finetuning_args.kl_beta, kl, reduction, needs_reference=True, metrics=kl_metrics)]


def clip_of(finetuning_args: "FinetuningArguments") -> Clip:
    """Return the limits of the ratio by name."""
    return Clip(clip_low=finetuning_args.clip_low, clip_high=finetuning_args.clip_high)


def surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch, **clip: Unpack[Clip]
) -> torch.Tensor:
    """Return GRPO's clipped objective (R, S), to be minimised."""
    return clipped_surrogate(logps, old_logps, batch.advantages, **clip)


def ratio_metrics(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch, **clip: Unpack[Clip]
) -> dict[str, torch.Tensor]:
    """Return the ratio of new to old policy and the shares of clipped tokens."""
    return clip_fractions(logps, old_logps, batch.advantages, **clip)


def kl(logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor | None, batch: Any) -> torch.Tensor:
    """Return the KL estimate (R, S)."""
    assert ref_logps is not None  # `needs_reference`
    return k3_kl(logps, ref_logps)


def kl_metrics(
    logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor | None, batch: Any
) -> dict[str, torch.Tensor]:
    """Return the KL estimate as a metric."""
    return {"kl": kl(logps, old_logps, ref_logps, batch)}
