"""What a method must give the rollout trainer. Read this before writing a stage."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from .records import Annotation, Rollout, Scores


if TYPE_CHECKING:
    from .batch import RolloutBatch
    from .components import Component
    from .control import Control
    from .resampling import DynamicSampling


class Annotator(Protocol):
    """A method, seen from the trainer. A stage inherits from it, and with that the defaults.

    Attributes:
        components: of the loss.
        resampling: finds other prompts in the place of those that teach nothing; None keeps every prompt.
        objective: numbers a token that need the policy's hidden states; None where there are none.
        record: what a reader of the completions must know of the method, such as the rule of a `gate`.
        controls: numbers that follow what is measured in each step; checkpoints hold them.
        before_learning: is shown all micro-batches of a step, without gradient, before the first is learnt from; None where nothing
            needs them together.
        kl_in_reward: weight of the KL that is taken off the rewards before `annotate`, which then gets the scores; 0 is off.
    """

    components: "Sequence[Component]"
    objective: "TokenObjective | None" = None
    resampling: "DynamicSampling | None" = None
    record: Mapping[str, Any] = {}
    controls: "Sequence[Control]" = ()
    before_learning: "Callable[[Sequence[RolloutBatch]], None] | None" = None
    kl_in_reward: float = 0.0

    def at(self, share: float) -> None:
        """Take what changes with time as it is when this share of the training is done, 0 to 1; evaluation asks for 1."""

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Return the rewards of groups of equal size; used as it is while evaluating."""

    def annotate(self, rollouts: list[Rollout], scores: Scores | None = None) -> Annotation:
        """Return what training needs to know about the rollouts of one step (of this process).

        Args:
            rollouts: of the step.
            scores: of these rollouts where dynamic sampling or `kl_in_reward` needed them; None where not.
        """

    def close(self) -> None:
        """Release what is held open; called once, however the run ends."""


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
