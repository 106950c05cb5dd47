"""What a server's rollouts need before they are learnt from: importance weights, and a look at how far server and trainer differ."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...losses.correction import Correction, importance_weights, log_ratio
from .batch import RolloutBatch


@dataclass(frozen=True)
class RolloutCorrection:
    """How the difference between the writer and the policy is corrected.

    Attributes:
        mode: of `losses.correction.importance_weights`.
        cap: largest weight.
    """

    mode: Correction
    cap: float

    def weights(self, old_logps: torch.Tensor, batch: RolloutBatch) -> torch.Tensor | None:
        """Return (R, S) weights of a policy loss; None where the policy itself has written, and nothing is to be corrected."""
        if batch.sampling_logps is None or self.mode == "none":
            return None
        return importance_weights(old_logps, batch.sampling_logps, batch.mask, mode=self.mode, cap=self.cap)

    def metrics(self, old_logps: torch.Tensor, batch: RolloutBatch) -> Mapping[str, torch.Tensor]:
        """Return values by name, NaN where there is none; nothing where the policy itself has written."""
        if batch.sampling_logps is None:
            return {}
        there = batch.mask & ~batch.sampling_logps.isnan()
        if not there.any():
            return {}
        difference = log_ratio(old_logps, batch.sampling_logps, batch.mask)[there]  # (M,)
        raw = importance_weights(old_logps, batch.sampling_logps, batch.mask, mode="token_truncate", cap=float("inf"))
        weights = self.weights(old_logps, batch)
        found = {
            "rollout/logp_diff_mean": difference.abs(),
            "rollout/logp_diff_max": difference.abs().amax()[None],
            "rollout/ratio_mean": raw[there],
        }
        if weights is not None:
            used = weights[there]
            cut = (used == 0) | (used >= self.cap)
            found["rollout/clipped_share"] = cut.float()
        return found
