"""A critic: any (vision-)language model the host loads, its last hidden states pooled, and three small heads on top.

LSKD (arXiv 2312.04837) puts the heads on a Q-Former's outputs; on a language model the pooling is ours [ours].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from ..interface import Prompt, Request
from .encoding import collate, encode
from .heads import SavedHeads, WithHeads
from .pooling import hidden_width as hidden_width  # the width that heads are made for
from .pooling import pooled_states


if TYPE_CHECKING:
    from .weights import LoadedModel

FILE = "critic_heads.safetensors"  # beside the weights of the model or of its adapter


class CriticOutput(NamedTuple):
    """What a critic says of N texts: `accept` (N, 2) logits, rejected first; `qa` and `rationale` (N,) scores. All float32."""

    accept: torch.Tensor
    qa: torch.Tensor
    rationale: torch.Tensor


class CriticHeads(SavedHeads):
    """The three heads of LSKD's critic: a linear layer for acceptance, Linear-ReLU-Linear(1) for each score.

    Args:
        width: of the hidden states.
        pooling: how they become one vector a text, of `pooling.POOLINGS`.
    """

    FILE, STAGE = FILE, "critic"

    def __init__(self, width: int, *, pooling: str) -> None:
        """Draw the weights as torch does."""
        super().__init__()
        self.width, self.pooling = width, pooling
        self.accept = nn.Linear(width, 2)
        self.qa = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.rationale = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def about(self) -> dict[str, Any]:
        """Return what the heads are built from."""
        return {"width": self.width, "pooling": self.pooling}

    def forward(self, pooled: torch.Tensor) -> CriticOutput:
        """Score pooled states (N, H)."""
        pooled = pooled.to(self.accept.weight.dtype)
        scores = (self.qa(pooled).squeeze(-1), self.rationale(pooled).squeeze(-1))
        return CriticOutput(self.accept(pooled).float(), *(score.float() for score in scores))


class Critic(WithHeads):
    """A model with the heads of a critic."""

    heads: CriticHeads

    def forward(self, **inputs: Any) -> CriticOutput:
        """Score the N texts of a batch as the host's collator makes it, without `labels`."""
        return self.heads(pooled_states(self.body, inputs, pooling=self.heads.pooling))


@dataclass(frozen=True)
class CriticScore:
    """What a critic says of one text.

    Attributes:
        accept: probability that the majority of raters accepts it, softmax of the first head.
        qa: score of question and answer.
        rationale: score of the rationale.
    """

    accept: float
    qa: float
    rationale: float


class CriticScorer:
    """Scores texts with a trained critic, in batches.

    Args:
        loaded: model, tokenizer, processor and template.
        heads: of the critic.
        batch_size: texts computed at a time.
        adapters: paths of the adapters that it was trained with.
    """

    def __init__(
        self, loaded: "LoadedModel", heads: CriticHeads, *, batch_size: int, adapters: Sequence[str] = ()
    ) -> None:
        """Load adapters that are not there yet; compute nothing."""
        self.loaded, self.batch_size, self.adapters = loaded, batch_size, tuple(adapters)
        if self.adapters:
            loaded.add_adapters(self.adapters)
        weight = next(loaded.model.parameters())
        self.heads = heads.to(weight.device).eval()

    def score(self, requests: Sequence[Request]) -> list[CriticScore]:
        """Score requests whose last turn is `formats.prompts.wording.critic_turn`; batches hold texts of like length."""
        prompts = [encode(self.loaded, request) for request in requests]
        order = sorted(range(len(prompts)), key=lambda place: prompts[place].length)
        found: dict[int, CriticScore] = {}
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            found |= dict(zip(places, self._score([prompts[place] for place in places]), strict=True))
        return [found[place] for place in range(len(prompts))]

    @torch.no_grad()
    def _score(self, prompts: Sequence[Prompt]) -> list[CriticScore]:
        inputs, _ = collate(self.loaded, prompts, padding_side="right")
        model = self.loaded.model
        training = model.training
        model.eval()
        try:
            with self.loaded.active(self.adapters):
                said = self.heads(pooled_states(model, inputs, pooling=self.heads.pooling))
        finally:
            model.train(training)
        accept = said.accept.softmax(-1)[:, 1]
        columns = (accept.tolist(), said.qa.tolist(), said.rationale.tolist())
        return [CriticScore(*values) for values in zip(*columns, strict=True)]
