"""Named parts of a loss over completions, each with its own normaliser, summed by the trainer.

The normaliser is counted over all micro-batches and processes of an optimiser step before the first forward pass, so the split
into them changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...losses.reduce import Reduction, normaliser


if TYPE_CHECKING:
    from .batch import RolloutBatch
    from .control import Control


# logps (R, S), old_logps (R, S), ref_logps (R, S) or None, the batch
PerToken = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, "RolloutBatch"], torch.Tensor]
PerTokenMetrics = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor | None, "RolloutBatch"], Mapping[str, torch.Tensor]
]


@dataclass(frozen=True)
class Component:
    """One part of a loss.

    Attributes:
        name: for logs.
        weight: the part counts so much.
        per_token: (R, S) values to be minimised.
        reduction: `sequence`, `token` or `constant`, see `losses.reduce.masked_mean`.
        mask: (R, S) or (R, 1) bool, the tokens that count; None is every token of every completion.
        needs_reference: `ref_logps` are computed.
        corrected: its values are those of a policy gradient, and are weighted where a server has written the completions; see
            `correction`.
        metrics: (R, S) values by name on detached tensors, logged as their mean over all tokens but those that a metric does
            not concern, which it marks with NaN.
        control: its value multiplies the weight; None is 1.
    """

    name: str
    weight: float
    per_token: PerToken
    reduction: Reduction
    mask: Callable[["RolloutBatch"], torch.Tensor] | None = None
    needs_reference: bool = False
    corrected: bool = False
    metrics: PerTokenMetrics | None = None
    control: "Control | None" = None

    @property
    def weight_now(self) -> float:
        """The weight in the step that is computed."""
        return self.weight if self.control is None else self.weight * self.control.value

    def tokens(self, batch: "RolloutBatch") -> torch.Tensor:
        """The tokens that count, (R, S) bool."""
        mask = batch.mask if batch.counts is None else batch.mask & batch.counts
        return mask if self.mask is None else mask & self.mask(batch).bool()

    def count(self, batch: "RolloutBatch", *, length: int) -> float:
        """What a micro-batch adds to the number that the component's sum is divided by; see `normaliser`."""
        return normaliser(self.tokens(batch), reduction=self.reduction, length=length)
