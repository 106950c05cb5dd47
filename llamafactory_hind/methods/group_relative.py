"""The parts of a group-relative loss (GRPO, arXiv 2402.03300) that stages combine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..losses.policy import clip_fractions, clipped_surrogate, k3_kl
from ..losses.reduce import wide
from ..losses.surrogates import cispo_surrogate, sequence_log_ratio, sequence_surrogate
from ..trainers.rollouts.batch import RolloutBatch
from ..trainers.rollouts.components import Component
from .comparison import teaching_mask


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


class Clip(TypedDict):
    """The limits of a ratio: 1 - `clip_low` to 1 + `clip_high`."""

    clip_low: float
    clip_high: float


@dataclass(frozen=True)
class PolicyLoss:
    """The surrogate that `policy_loss` and `ratio_level` choose.

    Attributes:
        clip: limits of the ratio.
        form: `clipped` (PPO) or `cispo`.
        level: `token` or `sequence` (GSPO).
    """

    clip: Clip
    form: str = "clipped"
    level: str = "token"

    @classmethod
    def of(cls, finetuning_args: "FinetuningArguments") -> "PolicyLoss":
        """Take the keys of the online stages."""
        clip = Clip(clip_low=finetuning_args.clip_low, clip_high=finetuning_args.clip_high)
        return cls(clip, finetuning_args.policy_loss, finetuning_args.ratio_level)

    def surrogate(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> torch.Tensor:
        """Return the objective (R, S), to be minimised."""
        if self.form == "cispo":
            return cispo_surrogate(logps, self._log_ratio(logps, old_logps, batch), batch.advantages, **self.clip)
        if self.level == "sequence":
            return sequence_surrogate(logps, old_logps, batch.mask, batch.advantages, **self.clip)
        return clipped_surrogate(logps, old_logps, batch.advantages, **self.clip)

    def metrics(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> dict[str, torch.Tensor]:
        """Return the ratio of new to old policy and the shares of clipped tokens."""
        if self.level == "token":
            return clip_fractions(logps, old_logps, batch.advantages, **self.clip)
        log_ratio = self._log_ratio(logps, old_logps, batch)
        return clip_fractions(log_ratio, torch.zeros_like(log_ratio), batch.advantages, **self.clip)

    def _log_ratio(self, logps: torch.Tensor, old_logps: torch.Tensor, batch: RolloutBatch) -> torch.Tensor:
        if self.level == "sequence":
            return sequence_log_ratio(logps, old_logps, batch.mask)
        return wide(logps) - wide(old_logps)


def policy_component(finetuning_args: "FinetuningArguments") -> Component:
    """Return the policy loss."""
    loss = PolicyLoss.of(finetuning_args)
    mask = teaching_mask(finetuning_args)
    return Component(
        "policy",
        1.0,
        loss.surrogate,
        finetuning_args.loss_reduction,
        mask=mask,
        corrected=True,
        metrics=loss.metrics,
    )


def kl_components(finetuning_args: "FinetuningArguments") -> list[Component]:
    """Return the KL divergence from the reference; nothing where `kl_beta` is 0 or the rewards hold it."""
    if not finetuning_args.kl_beta or finetuning_args.kl_in_reward:
        return []
    return [
        Component(
            "kl",
            finetuning_args.kl_beta,
            kl,
            finetuning_args.loss_reduction,
            mask=teaching_mask(finetuning_args),
            needs_reference=True,
            metrics=kl_metrics,
        )
    ]


def kl(logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor | None, batch: Any) -> torch.Tensor:
    """Return the KL estimate (R, S)."""
    assert ref_logps is not None  # `needs_reference`
    return k3_kl(logps, ref_logps)


def kl_metrics(
    logps: torch.Tensor, old_logps: Any, ref_logps: torch.Tensor | None, batch: Any
) -> dict[str, torch.Tensor]:
    """Return the KL estimate as a metric."""
    return {"kl": kl(logps, old_logps, ref_logps, batch)}
