"""Image-text contrast and matching of BLIP-2 (arXiv 2301.12597), the losses of LSKD's discriminative student (arXiv 2312.04837).

Compared with salesforce/LAVIS `models/blip2_models/blip2_qformer.py`, which LSKD's code takes over. Rows are those of this process;
columns are all pairs of the batch, those of the other processes included, this process's first column at `offset`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from .reduce import wide


EXCLUDED = -10000.0  # similarity of a pair that may not be drawn as a negative, as in the official code


def similarities(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Return the similarity of every image with every text, the best over the image's queries, (N, M).

    Args:
        image_features: (N, Q, D) normalised, Q queries or one pooled state an image; (N, D) is Q = 1.
        text_features: (M, D) normalised.
    """
    if image_features.dim() == 2:
        image_features = image_features.unsqueeze(1)
    return torch.einsum("nqd,md->nmq", image_features, text_features).amax(-1)


def itc_targets(rows: int, columns: int, *, offset: int, smoothing: float, positive: Tensor | None = None) -> Tensor:
    """Return the distribution that each row should have over the columns, (rows, columns) float32.

    Without `positive` the pair itself is the only right column; else all that are the same picture share the weight. Then
    `smoothing` of the weight is spread over all columns: `F.cross_entropy(label_smoothing=...)` and the official retrieval branch.

    Args:
        rows: N.
        columns: M, over all processes.
        offset: column of the first row's own pair.
        smoothing: 0.1 in the official code.
        positive: (N, M) bool, pairs of one picture; the own pair among them.
    """
    if positive is None:
        right = torch.zeros(rows, columns)
        right[torch.arange(rows), torch.arange(rows) + offset] = 1.0
    else:
        right = positive.float() / positive.float().sum(1, keepdim=True)
    return (1 - smoothing) * right + smoothing / columns


def itc_loss(image_to_text: Tensor, text_to_image: Tensor, targets: Tensor, *, temperature: Tensor | float) -> Tensor:
    """Return the contrastive loss of each row, the mean of both directions, (N,).

    Args:
        image_to_text: (N, M) similarities of own images with all texts.
        text_to_image: (N, M) similarities of own texts with all images.
        targets: (N, M), see `itc_targets`.
        temperature: divides similarities; learnt from 0.07 in the official code.

    Raises:
        ValueError: shapes that differ.
    """
    if not image_to_text.shape == text_to_image.shape == targets.shape:
        shapes = [tuple(values.shape) for values in (image_to_text, text_to_image, targets)]
        raise ValueError(f"image_to_text, text_to_image, targets: got {shapes}, expected one shape (N, M).")
    targets = targets.to(image_to_text.device)
    losses = [
        -(targets * functional.log_softmax(wide(some) / temperature, dim=1)).sum(1)
        for some in (image_to_text, text_to_image)
    ]
    return (losses[0] + losses[1]) / 2


def negative_weights(similarity: Tensor, same: Tensor, *, temperature: Tensor | float) -> Tensor:
    """Return the chance of each column to be drawn as the hard negative of a row: softmax of the similarity, (N, M).

    Args:
        similarity: (N, M); no gradient passes.
        same: (N, M) bool, pairs of one picture, the own pair among them: never drawn. (The official code masks all of them where
            rows have image ids, else the own pair alone.)
        temperature: as in the loss.

    Raises:
        ValueError: a row has no column left, for all pairs of the batch are of one picture.
    """
    if bool(same.all(1).any()):
        raise ValueError(
            "same: got a row whose picture is that of every pair, expected another one in the batch, which hard negatives "
            "are drawn from. Use larger batches, or fewer rows of one picture in a batch."
        )
    with torch.no_grad():
        logits = wide(similarity) / temperature
        return functional.softmax(logits.masked_fill(same, EXCLUDED), dim=1).masked_fill(same, 0.0)


def draw_negatives(weights: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return one column a row, drawn by its weight, (N,)."""
    # a weight may underflow to 0 in a whole row but for what is excluded: the smallest number keeps it drawable
    tiny = torch.finfo(weights.dtype).tiny
    allowed = weights > 0
    safe = torch.where(allowed.any(1, keepdim=True), weights, torch.full_like(weights, tiny))
    return torch.multinomial(safe, 1, generator=generator).squeeze(1)


def itm_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """Return the cross-entropy of each judged pair, (K,): three a row (the pair, another image, another text).

    Args:
        logits: (K, 2), not matching first.
        matches: (K,) 1 where image and text belong together.
    """
    return functional.cross_entropy(wide(logits), matches.long(), reduction="none")
