"""The heads of a matcher: projections for the contrast, two logits for the match, and the temperature (BLIP-2, arXiv 2301.12597)."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Blip2QFormerConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings

from ..heads import SavedHeads


FILE = "lskd_heads.safetensors"  # beside the weights of the model or of its adapter
SIZE = 256  # of the features that are compared, `embed_dim` in the official code
TEMPERATURE = 0.07
BOUNDS = (0.001, 0.5)  # of the temperature, as salesforce/BLIP clamps it


class MatchingHeads(SavedHeads):
    """What ITC and ITM put on the states of a body.

    Args:
        width: of the states.
        size: of the features that are compared.
        words: of the Q-Former's own table of embeddings; 0 for a body that reads texts with those of its language model.
        places: positions of that table.
    """

    FILE, STAGE = FILE, "lskd"

    def __init__(self, width: int, *, size: int = SIZE, words: int = 0, places: int = 0) -> None:
        """Draw the weights as torch does."""
        super().__init__()
        self.width, self.size, self.words, self.places = width, size, words, places
        self.image = nn.Linear(width, size)
        self.text = nn.Linear(width, size)
        self.match = nn.Linear(width, 2)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        if words:
            config = Blip2QFormerConfig(vocab_size=words, hidden_size=width, max_position_embeddings=places)
            self.embeddings = Blip2TextEmbeddings(config)

    def about(self) -> dict[str, Any]:
        """Return what the heads are built from."""
        return {name: getattr(self, name) for name in ("width", "size", "words", "places")}

    def image_features(self, states: torch.Tensor) -> torch.Tensor:
        """Return normalised features (N, D) or (N, Q, D) of states (N, H) or (N, Q, H), float32."""
        return _normalised(self.image, states)

    def text_features(self, states: torch.Tensor) -> torch.Tensor:
        """Return normalised features (N, D) of states (N, H), float32."""
        return _normalised(self.text, states)

    def match_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits (K, 2), not matching first, of states (K, H), or of (K, Q, H): the mean over the queries."""
        logits = self.match(states.to(self.match.weight.dtype)).float()
        return logits.mean(1) if logits.dim() == 3 else logits

    def clamp(self) -> None:
        """Keep the temperature within `BOUNDS`, in place, as salesforce/BLIP does before each pass of training."""
        with torch.no_grad():
            self.temperature.clamp_(*BOUNDS)

    def freeze(self, *, itc: bool, itm: bool) -> None:
        """Train no head whose loss has no weight: data-parallel wrappers wait for every gradient that they were promised."""
        for weight in (*self.image.parameters(), *self.text.parameters(), self.temperature):
            weight.requires_grad_(itc)
        self.match.requires_grad_(itm)
        if self.words:
            self.embeddings.requires_grad_(itc or itm)


def _normalised(projection: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    return functional.normalize(projection(states.to(projection.weight.dtype)).float(), dim=-1)
