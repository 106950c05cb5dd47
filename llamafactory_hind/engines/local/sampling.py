"""Picking tokens: temperature, top-k, top-p and one uniform number a token, row by row independent of the batch.

Inverse-CDF sampling: one random number a row instead of one a vocabulary entry, and the stream of a row depends on its own key
alone, so that a row draws the same numbers alone or in any batch.
"""

import hashlib
from collections.abc import Sequence

import torch


TILES = (512, 256, 128, 64)  # words whose probabilities are summed first; the largest that divides the vocabulary


NO_FLOAT64 = {"mps"}  # kinds of devices that cannot hold it


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating point type of a device."""
    return torch.float32 if device.type in NO_FLOAT64 else torch.float64


class TokenSampler:
    """Picks the next token of every row.

    Args:
        temperatures: (R,) a row; 0 is greedy.
        uniforms: (R, S) float64 in [0, 1), one for each step of a row, on any device.
        banned: ids that must never be written (media placeholders).
        top_k: 0 is off.
        top_p: 1.0 is off.
        gives_logps: False leaves log-probs out, 0 in their place: they take a pass over the vocabulary.
    """

    def __init__(
        self,
        *,
        temperatures: torch.Tensor,
        uniforms: torch.Tensor,
        banned: Sequence[int],
        top_k: int,
        top_p: float,
        gives_logps: bool = True,
    ) -> None:
        """Keep the options."""
        self.temperatures = temperatures
        self.all_hot = bool((temperatures > 0).all())
        self.gives_logps = gives_logps
        # the type first: a device without float64 takes none
        self.uniforms = uniforms.to(widest(temperatures.device)).to(temperatures.device)
        self.banned = list(banned)
        self.top_k = top_k
        self.top_p = top_p

    def sample(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next tokens and their log-probs under the model itself.

        Args:
            logits: (A, V) of the model, untouched.
            rows: (A,) which rows these are.
            step: number of the token in its completion.

        Returns:
            (A,) ids and (A,) float32 log-probs at temperature 1 with every token allowed.
        """
        logits = logits.to(self.temperatures.device, torch.float32)  # a split model has its head elsewhere
        tokens = self._sampled(logits, rows, step) if self.all_hot else self._mixed(logits, rows, step)  # (A,)
        if not self.gives_logps:
            return tokens, torch.zeros_like(tokens, dtype=torch.float32)
        return tokens, logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)

    def _sampled(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        shaped = logits / self.temperatures[rows, None]
        shaped[:, self.banned] = float("-inf")
        shaped = truncate(shaped, top_k=self.top_k, top_p=self.top_p)
        return sample_inverse_cdf(shaped.softmax(-1), self.uniforms[rows, step])

    def _mixed(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        allowed = logits.clone()
        allowed[:, self.banned] = float("-inf")
        tokens = allowed.argmax(-1)
        temperatures = self.temperatures[rows]
        hot = temperatures > 0
        if bool(hot.any()):
            shaped = truncate(allowed[hot] / temperatures[hot, None], top_k=self.top_k, top_p=self.top_p)
            tokens[hot] = sample_inverse_cdf(shaped.softmax(-1), self.uniforms[rows[hot], step])
        return tokens


def truncate(logits: torch.Tensor, *, top_k: int, top_p: float) -> torch.Tensor:
    """Set to -inf what is not among the `top_k` or not in the smallest set with probability `top_p`. (A, V) -> (A, V)."""
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], float("-inf"))
    if top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1).roll(1, -1)  # probability of all that is likelier
        before[:, 0] = 0.0  # the likeliest token always stays
        ordered = ordered.masked_fill(before >= top_p, float("-inf"))
        logits = torch.empty_like(logits).scatter(-1, order, ordered)
    return logits


def sample_inverse_cdf(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Invert the cumulative distribution: (A, V), (A,) -> (A,); a token of probability 0 is never drawn.

    Sums of tiles come first, then one tile is looked at: a running sum over a large vocabulary is slow.
    """
    words, wide = probabilities.shape[-1], widest(probabilities.device)
    size = next((size for size in TILES if words % size == 0 and words > size), words)
    tiles = probabilities.unflatten(-1, (-1, size))  # (A, K, size)
    masses = tiles.sum(-1) if size < words else probabilities.sum(-1, keepdim=True)
    cumulative = masses.cumsum(-1, dtype=wide)  # (A, K)
    points = uniforms[:, None] * cumulative[:, -1:]
    tile = torch.searchsorted(cumulative, points, right=True).clamp(max=cumulative.shape[-1] - 1)  # (A, 1)
    inside = tiles.gather(1, tile[..., None].expand(-1, -1, size))[:, 0].cumsum(-1, dtype=wide)  # (A, size)
    before = cumulative.gather(-1, tile) - masses.gather(-1, tile)
    within = torch.searchsorted(inside, points - before, right=True).clamp(max=size - 1)
    tokens = tile * size + within  # (A, 1)
    # A parallel prefix sum need not rise monotonically, and u may round up to the total: then the likeliest token stands in.
    possible = probabilities.gather(-1, tokens) > 0
    return torch.where(possible, tokens, probabilities.argmax(-1, keepdim=True))[:, 0]


def draw_uniforms(keys: Sequence[str], steps: int, *, seed: int) -> torch.Tensor:
    """Return (R, S) float64 numbers in [0, 1); row r depends on `seed` and `keys[r]` alone."""
    rows = []
    for key in keys:
        digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        rows.append(torch.rand(steps, generator=generator, dtype=torch.float64))
    return torch.stack(rows)
