"""A matcher as one module: LSKD's discriminative student (arXiv 2312.04837), the losses of BLIP-2 (arXiv 2301.12597).

`L_ITC` of each row against the rows of all processes, `L_ITM` on its own pair and two hard negatives, `L_LM` of its target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ....losses.contrastive import itc_loss, itc_targets, itm_loss, similarities
from ..heads import WithHeads
from ..scoring import base_model
from .bodies import TEXT_KEYS, Body, Reading
from .chat import ChatBody
from .drawing import Pairs, draw, pairs_of, shares
from .gathering import gather_counts, gather_rows, gather_texts, rank
from .heads import MatchingHeads
from .qformer import QFormerBody
from .texts import unpadded


@dataclass(frozen=True)
class Wanted:
    """What is computed of a batch.

    Attributes:
        lm: `mean` as in training, `sums` of each row, or None.
        itc: the contrastive loss.
        itm: the matching loss; its negatives are drawn by the features of the contrast.
        gather: pairs with the rows of all processes.
    """

    lm: str | None
    itc: bool
    itm: bool
    gather: bool = True


class Matched(NamedTuple):
    """What a matcher makes of the N rows of a batch; None where it was not asked for.

    Attributes:
        lm: mean loss of the targets' tokens.
        lm_sums: summed loss and tokens of each row, (N, 2).
        itc: loss of each row, (N,).
        itm: the loss of this process's pairs, each as large as its share of its row: summed over processes, the loss of M rows.
        right: (K,) whether each pair was judged right.
        image: (N, Q, D) or (N, D) features.
        text: (N, D).
    """

    lm: torch.Tensor | None
    lm_sums: torch.Tensor | None = None
    itc: torch.Tensor | None = None
    itm: torch.Tensor | None = None
    right: torch.Tensor | None = None
    image: torch.Tensor | None = None
    text: torch.Tensor | None = None


class _Everywhere(NamedTuple):
    """Features and pictures of the M rows of all processes, and where this process's begin."""

    image: torch.Tensor
    text: torch.Tensor
    pictures: torch.Tensor
    counts: Sequence[int]
    offset: int


class Matcher(WithHeads):
    """A model with the heads of a matcher.

    Args:
        body: as the host loads it; PEFT included.
        heads: of this body.
        smoothing: of the labels of the contrast.

    Attributes:
        reader: reads with the body.
    """

    heads: MatchingHeads

    def __init__(self, body: nn.Module, heads: MatchingHeads, *, smoothing: float) -> None:
        """Put both together."""
        super().__init__(body, heads)
        self.smoothing = smoothing
        self.reader = open_body(body)

    def forward(self, batch: Mapping[str, Any], wanted: Wanted, *, seed: int) -> Matched:
        """Compute the losses of a batch as `trainers.lskd.collator` makes it.

        Args:
            batch: what the model takes, `labels`, and `bodies.TEXT_KEYS`.
            wanted: what is computed.
            seed: what the negatives of this batch are drawn from, the same on every process.
        """
        pairs = wanted.itc or wanted.itm
        if pairs and self.training:
            self.heads.clamp()
        texts = {name: batch[name] for name in TEXT_KEYS}
        inputs = {name: value for name, value in batch.items() if name not in TEXT_KEYS}
        reading = self.reader.read(self.body, self.heads, inputs, texts, lm=wanted.lm, pairs=pairs)
        found = Matched(reading.lm, reading.lm_sums)
        if not pairs:
            return found
        image, text = self.heads.image_features(reading.image), self.heads.text_features(reading.text)
        everywhere = _gathered(image, text, texts["pictures"], gather=wanted.gather)
        found = found._replace(image=image, text=text)
        if wanted.itc:
            found = found._replace(itc=self._itc(image, text, texts["pictures"], everywhere))
        return self._itm(found, reading, texts, everywhere, seed, wanted.gather) if wanted.itm else found

    def _itc(
        self, image: torch.Tensor, text: torch.Tensor, pictures: torch.Tensor, everywhere: _Everywhere
    ) -> torch.Tensor:
        """Return the contrastive loss of each row, (N,); rows of one picture are right for each other, as in the official code."""
        same = pictures[:, None] == everywhere.pictures  # (N, M)
        targets = itc_targets(*same.shape, offset=everywhere.offset, smoothing=self.smoothing, positive=same)
        return itc_loss(
            similarities(image, everywhere.text),
            similarities(everywhere.image, text).T,
            targets,
            temperature=self.heads.temperature.float(),
        )

    def _itm(
        self,
        found: Matched,
        reading: Reading,
        texts: Mapping[str, torch.Tensor],
        everywhere: _Everywhere,
        seed: int,
        gather: bool,
    ) -> Matched:
        """Add the loss of the own pairs and of the negatives whose pictures are here."""
        count, offset = len(texts["pictures"]), everywhere.offset
        same = everywhere.pictures[:, None] == everywhere.pictures  # (M, M)
        drawn = draw(everywhere.image, everywhere.text, same, temperature=self.heads.temperature.detach(), seed=seed)
        negatives = pairs_of(drawn, offset=offset, count=count)
        ids, mask = (texts[name] for name in self.reader.travels)
        counts = everywhere.counts if gather else [count]
        known = gather_texts(ids, mask, counts) if gather else unpadded(ids, mask)
        logits = self._judge(reading, negatives, known, count, offset)  # own pairs first
        rows = [*range(offset, offset + count), *negatives.rows]
        matches = torch.arange(len(rows), device=logits.device) < count  # (K,)
        weights = torch.tensor(shares(drawn, rows), device=logits.device)
        right = logits.argmax(-1) == matches.long()
        return found._replace(itm=(itm_loss(logits, matches) * weights).sum(), right=right)

    def _judge(
        self, reading: Reading, negatives: Pairs, known: Sequence[torch.Tensor], count: int, offset: int
    ) -> torch.Tensor:
        """Return the logits of the own pairs and of the negatives, (K, 2)."""
        images, texts = list(negatives.images), [known[number] for number in negatives.texts]
        states = [] if reading.own is None else [reading.own]
        if reading.own is None:
            images, texts = [*range(count), *images], [*known[offset : offset + count], *texts]
        if texts:
            states.append(self.reader.match(self.body, self.heads, reading.memory, images, texts))
        return torch.cat([self.heads.match_logits(some) for some in states])


def open_body(model: nn.Module) -> Body:
    """Return what reads with this model: the Q-Former of a BLIP-2, else its language model."""
    return QFormerBody() if getattr(base_model(model).config, "model_type", "") == "blip-2" else ChatBody(model)


def _gathered(image: torch.Tensor, text: torch.Tensor, pictures: torch.Tensor, *, gather: bool) -> _Everywhere:
    if not gather:
        return _Everywhere(image, text, pictures, [len(pictures)], 0)
    counts = gather_counts(len(pictures), pictures.device)
    everyone = [gather_rows(some, counts) for some in (image, text, pictures)]
    return _Everywhere(*everyone, counts, sum(counts[: rank()]))
