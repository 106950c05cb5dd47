"""Numbers a token that need the policy's hidden states, such as a divergence over the whole vocabulary.

They are computed inside the policy's one pass over a micro-batch, where its hidden states and its output head are, and reach the
components as `RolloutBatch.token_streams`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..engines.local.scoring import base_model


if TYPE_CHECKING:
    from .rollouts.batch import RolloutBatch
    from .rollouts.scoring import GroupScorer


class TokenObjective(Protocol):
    """What is computed beside log-probs; M counts the tokens `batch.tokens[batch.mask]` in their order."""

    def prepare(self, batch: "RolloutBatch") -> Any:
        """Do, without gradient and before the policy's pass over this micro-batch, what that pass will need."""

    def compute(
        self, hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor, prepared: Any
    ) -> Mapping[str, torch.Tensor]:
        """Return streams with gradient.

        Args:
            hidden: (M, H) states of the policy that predict the tokens.
            head: of the policy, as `engines.local.scoring.head_arguments` describes it.
            targets: (M,) the tokens.
            prepared: what `prepare` returned.

        Returns:
            name -> (M,).
        """

    def clear(self) -> None:
        """Let go of what is kept of the last prompts: new ones come."""


def score_with(
    objective: TokenObjective | None, scorer: "GroupScorer", model: torch.nn.Module, batch: "RolloutBatch"
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probs (R, S) of a micro-batch, and the streams of an objective, name -> (R, S), from one pass of the model."""
    if objective is None:
        return scorer(model, batch), {}
    with torch.no_grad():
        prepared = objective.prepare(batch)
    found: dict[str, torch.Tensor] = {}

    def also(hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor) -> None:
        found.update(objective.compute(hidden, head, targets, prepared))

    logps = scorer(model, batch, also=also)
    return logps, {name: spread(values, batch.mask) for name, values in found.items()}


def spread(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return (M,) values at the M places of a mask (R, S), 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def check_objective(objective: TokenObjective | None, scorer: "GroupScorer", model: torch.nn.Module) -> None:
    """Refuse, once the scorer is settled, a policy whose head cannot be read.

    Raises:
        ValueError: it is not known how the model makes logits of hidden states.
    """
    if objective is not None and not scorer.chunked:
        raise ValueError(
            f"The output head of {type(base_model(model)).__name__} turns hidden states into logits in a way that is not known "
            "here (the warning above says how it differs), so no divergence from a teacher can be computed. Leave the head out "
            "of quantisation and out of `lora_target` with DoRA, or set `distill_weight: 0`."
        )
