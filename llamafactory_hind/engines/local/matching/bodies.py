"""What a body of a matcher gives: states of pictures, of texts and of pairs. Two kinds: any chat model, and BLIP-2."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from ..scoring import IGNORE_INDEX
from .heads import MatchingHeads


# Of a batch, beside what the model takes: texts without media (N, S), texts behind the media (N, S), padded on the right; the
# column of the last media token (N,); the number of the picture (N,), equal for rows about the same one.
TEXT_KEYS = ("text_ids", "text_mask", "tail_ids", "tail_mask", "media_ends", "pictures")


class Reading(NamedTuple):
    """What a body makes of the N rows of a batch.

    Attributes:
        lm: the host's `sft` loss, the mean over the targets' tokens; None where it is not asked for.
        lm_sums: summed losses and counts of tokens of each row, (N, 2), where asked for instead.
        image: (N, H), or (N, Q, H) of Q queries, states of the pictures; None where only `lm` is asked for.
        text: (N, H) states of the texts.
        own: (N, H) states of each row's own pair, where they come along; None where `match` has to make them.
        memory: what `match` needs.
    """

    lm: torch.Tensor | None
    lm_sums: torch.Tensor | None = None
    image: torch.Tensor | None = None
    text: torch.Tensor | None = None
    own: torch.Tensor | None = None
    memory: Any = None


class Body(Protocol):
    """Reads pictures and texts with a model, see `chat.ChatBody` and `qformer.QFormerBody`."""

    # which texts travel to the pictures they are paired with: names of their ids and their mask in a batch
    travels: tuple[str, str]

    def new_heads(self, model: nn.Module) -> MatchingHeads:
        """Return new heads for this model."""

    def read(
        self,
        model: nn.Module,
        heads: MatchingHeads,
        inputs: Mapping[str, Any],
        texts: Mapping[str, torch.Tensor],
        *,
        lm: str | None,
        pairs: bool,
    ) -> Reading:
        """Read a batch.

        Args:
            model: the body's.
            heads: of the matcher.
            inputs: as the host's collator makes them, with `labels`.
            texts: `TEXT_KEYS` of the batch.
            lm: `mean` as in training, `sums` a row, or None.
            pairs: states of pictures, texts and pairs are wanted.
        """

    def freeze_writer(self, model: nn.Module) -> None:
        """Train nothing that only `lm` would use."""

    def text_states(
        self, model: nn.Module, heads: MatchingHeads, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return states (N, H) of `text_ids` and `text_mask`, of as many texts as there are; `inputs` are of any batch."""

    def remember(self, model: nn.Module, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> Any:
        """Return what `match` needs of a batch that is not read otherwise."""

    def match(
        self, model: nn.Module, heads: MatchingHeads, memory: Any, images: Sequence[int], texts: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return states (K, H) or (K, Q, H) of K pairs: numbers of pictures in the batch, and the ids of their texts."""


def row_sums(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed loss of each row's targets and how many tokens they are, (N, 2) float32."""
    targets = labels[:, 1:]
    losses = nn.functional.cross_entropy(
        logits[:, -labels.shape[1] : -1].float().transpose(1, 2), targets, ignore_index=IGNORE_INDEX, reduction="none"
    )  # (N, T - 1)
    return torch.stack([losses.sum(1), (targets != IGNORE_INDEX).sum(1).float()], 1)
