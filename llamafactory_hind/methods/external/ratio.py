"""What an external token's advantage is multiplied by: pi/pi_old, LUFFY's f(pi), or pi/q; for stages whose groups hold such tokens."""

from typing import TYPE_CHECKING, Any, Unpack

import torch

from ...losses.policy import behavior_surrogate, clip_fractions, shaped_surrogate
from ...trainers.rollouts.batch import RolloutBatch
from ...trainers.rollouts.components import Component
from ..comparison import teaching_mask
from ..group_relative import Clip, PolicyLoss
from .metrics import metrics_by_source
from .selection import external_rows


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


NO_CLIP = Clip(clip_low=1.0, clip_high=float("inf"))  # a ratio is never below 0


class ExternalRatio:
    """The policy loss of groups with external actions.

    loss = -min(rho A, clip(rho) A) with rho = pi / pi_old for every action, or for external ones -f(pi) A with
    f(pi) = pi / (pi + gamma) (`shaped`, LUFFY), or rho = pi / q (`behavior`).
    """

    def __init__(self, finetuning_args: "FinetuningArguments") -> None:
        """Take the keys."""
        self.ratio, self.gamma = finetuning_args.external_ratio, finetuning_args.external_gamma
        self.own = PolicyLoss.of(finetuning_args)
        self.clip = self.own.clip
        self.mask = teaching_mask(finetuning_args)
        self.reduction = finetuning_args.loss_reduction

    def component(self, weight: float = 1.0) -> Component:
        """Return the part of the loss."""
        return Component(
            "policy",
            weight,
            self.surrogate,
            self.reduction,
            mask=self.mask,
            corrected=True,
            metrics=self.ratio_metrics,
        )

    def surrogate(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> torch.Tensor:
        """Return the policy loss (R, S): that of the policy's own completions, and for external actions that of `external_ratio`."""
        losses = self.own.surrogate(logps, old_logps, ref_logps, batch)
        external = external_rows(batch)  # (R,)
        if self.ratio == "plain" or not external.any():
            return losses
        own = self.external_surrogate(logps, batch.advantages, batch, external, **self.clip)
        return losses.index_put((external,), own.to(losses.dtype))

    def external_surrogate(
        self,
        logps: torch.Tensor,
        advantages: torch.Tensor,
        batch: RolloutBatch,
        external: torch.Tensor,
        **clip: Unpack[Clip],
    ) -> torch.Tensor:
        """Return the loss of external actions alone: -f(pi) A, which nothing clips, or the clipped -(pi / q) A."""
        logps, advantages = logps[external], advantages[external]
        if self.ratio == "shaped":
            return shaped_surrogate(logps, advantages, gamma=self.gamma)
        behavior_logps = batch.streams["behavior_logp"][external]
        return behavior_surrogate(logps, batch.mask[external], behavior_logps, advantages, **clip)

    def ratio_metrics(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> dict[str, torch.Tensor]:
        """Return ratios and clipped tokens, over all and by source; for external actions, what stands in the ratio's place."""
        found = self.own.metrics(logps, old_logps, ref_logps, batch)
        external = external_rows(batch)
        if self.ratio != "plain" and external.any():
            factors = -self.external_surrogate(logps, torch.ones_like(batch.advantages), batch, external, **NO_CLIP)
            clip = NO_CLIP if self.ratio == "shaped" else self.clip
            own = clip_fractions(factors.log(), torch.zeros_like(factors), batch.advantages[external], **clip)
            found = {name: all_.index_put((external,), own[name].to(all_.dtype)) for name, all_ in found.items()}
        return found | metrics_by_source(found, logps, batch)
