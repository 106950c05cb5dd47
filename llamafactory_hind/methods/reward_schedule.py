"""Weights of rewards that move with the training, for example from the format to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


@dataclass(frozen=True)
class RewardSchedule:
    """w(s) = start + (end - start) min(s / span, 1), with s the share of the training that is done [ours].

    Attributes:
        start: a weight for each reward.
        end: the same, from `span` on.
        span: share of the training, above 0 and at most 1.
    """

    start: Sequence[float]
    end: Sequence[float]
    span: float = 1.0

    @classmethod
    def of(cls, finetuning_args: "FinetuningArguments", weights: Sequence[float]) -> "RewardSchedule | None":
        """Take the keys of the online stages, and the weights at the start; None where weights stay."""
        if finetuning_args.reward_weights_end is None:
            return None
        return cls(list(weights), finetuning_args.reward_weights_end, finetuning_args.reward_weights_span)

    def weights(self, share: float) -> list[float]:
        """Return the weights when this share of the training is done, 0 to 1."""
        way = min(share / self.span, 1.0)
        return [first + (last - first) * way for first, last in zip(self.start, self.end, strict=True)]
