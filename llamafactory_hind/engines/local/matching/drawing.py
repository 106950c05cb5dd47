"""Hard negatives: for each picture another text, for each text another picture, drawn by similarity over the whole batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ....losses.contrastive import draw_negatives, negative_weights, similarities
from .gathering import from_first


NONE = -1  # a row whose picture is that of every pair has no negative


class Negatives(NamedTuple):
    """What was drawn for the M rows of a batch, `NONE` where there is nothing to draw from.

    Attributes:
        texts: (M,) number of the text that is shown with the picture of a row.
        images: (M,) number of the picture that is shown with the text of a row.
    """

    texts: list[int]
    images: list[int]


class Pairs(NamedTuple):
    """Pairs that one process judges: those of its own pictures, since texts travel and pictures stay.

    Attributes:
        images: number of the picture in this process.
        texts: number of the text in the whole batch.
        rows: number of the row, in the whole batch, that the pair was drawn for.
    """

    images: list[int]
    texts: list[int]
    rows: list[int]


@torch.no_grad()
def draw(
    image: torch.Tensor, text: torch.Tensor, same: torch.Tensor, *, temperature: torch.Tensor, seed: int
) -> Negatives:
    """Draw the negatives of a batch; every process draws all of them alike, so that a split of the batch changes none.

    Args:
        image: (M, Q, D) or (M, D) features of all processes.
        text: (M, D).
        same: (M, M) bool, rows of one picture.
        temperature: as in the loss.
        seed: of this batch.
    """
    generator = torch.Generator().manual_seed(seed)
    similarity = similarities(image, text).float().cpu()  # (M, M) pictures x texts
    same = same.cpu()
    can = ~same.all(1)  # (M,)
    drawn = torch.full((2, len(same)), NONE)
    if bool(can.any()):
        for number, some in enumerate((similarity, similarity.T)):
            weights = negative_weights(some[can], same[can], temperature=temperature.float().cpu())
            drawn[number, can] = draw_negatives(weights, generator=generator)
    texts, images = from_first(drawn.to(image.device)).tolist()
    return Negatives(texts, images)


def pairs_of(negatives: Negatives, *, offset: int, count: int) -> Pairs:
    """Return the negative pairs whose pictures are the `count` rows of a process from `offset` on."""
    rows = range(len(negatives.texts))
    pairs = [(row, negatives.texts[row], row) for row in rows]
    pairs += [(negatives.images[row], row, row) for row in rows]
    own = [pair for pair in pairs if NONE not in pair and offset <= pair[0] < offset + count]
    return Pairs([image - offset for image, _, _ in own], [pair[1] for pair in own], [pair[2] for pair in own])


def shares(negatives: Negatives, rows: Sequence[int]) -> list[float]:
    """Return what a pair of each of these rows counts: 1/3, or 1 where the row has no negative and its own pair is all."""
    return [1.0 if negatives.texts[row] == NONE else 1 / 3 for row in rows]
