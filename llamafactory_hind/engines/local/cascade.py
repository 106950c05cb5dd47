"""Writing behind prompts whose keys and values are kept once, however many completions follow (cascade attention).

A step of writing attends in two parts: to the prompt, where all completions of a group are one matrix of queries, and to the
completion's own tokens. The log-sum-exp of the parts joins them exactly (Juravsky et al., Hydragen, arXiv 2402.05099). So the
prompt's cache is neither repeated for a group nor for the heads that share keys, it is read once a group and step, and a step
takes no mask: every row has as many tokens of its own as any other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import transformers.cache_utils as cache_utils
from transformers import Cache, PreTrainedModel

from .cache import LAYERS


NAME = "hind_cascade"  # of the attention function among those of transformers
OTHER_RULES = ("softcap", "s_aux")  # arguments of attention that change it: caps, sinks


if LAYERS:

    class CascadeLayer(cache_utils.DynamicLayer):
        """Keys and values of B prompts (B, K, P, D), and of R rows behind them (R, K, S, D); K heads.

        Args:
            layer: what the prefill left.
            rows: R.
            room: S, tokens that may come.
        """

        def __init__(self, layer: "cache_utils.DynamicLayer", *, rows: int, room: int) -> None:
            """Take the prompts' part over, without a copy."""
            super().__init__()
            self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
            self.prompt_keys, self.prompt_values = layer.keys, layer.values
            self.all_keys, self.all_values = (
                part.new_empty(rows, part.shape[1], room, part.shape[3]) for part in (layer.keys, layer.values)
            )
            self._show(0)

        def _show(self, length: int) -> None:
            self.keys, self.values = self.all_keys[:, :, :length], self.all_values[:, :, :length]

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Write new tokens (R, K, 1, D) behind the others; return those of the rows, without the prompts."""
            start = self.keys.shape[2]
            end = start + key_states.shape[2]
            self.all_keys[:, :, start:end] = key_states
            self.all_values[:, :, start:end] = value_states
            self._show(end)
            return self.keys, self.values

        def get_seq_length(self) -> int:
            """Return how many tokens a row has, its prompt's among them."""
            return int(self.prompt_keys.shape[2] + self.keys.shape[2])

        def select(self, rows: torch.Tensor, prompts: torch.Tensor | None) -> None:
            """Keep some rows, and some prompts where they are given."""
            length = self.keys.shape[2]
            self.all_keys, self.all_values = self.all_keys[rows], self.all_values[rows]
            self._show(length)
            if prompts is not None:
                self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]


def can_cascade(cache: Cache) -> bool:
    """Say whether every layer of a cache keeps all tokens of all rows."""
    layers = getattr(cache, "layers", None)
    return LAYERS and bool(layers) and all(type(layer) is cache_utils.DynamicLayer for layer in layers)


class Cascade:
    """Rows that are written behind the prompts of a cache, whose layers this replaces.

    Args:
        cache: of B prompts; see `can_cascade`.
        mask: (B, P) which of the prompts' tokens are there.
        repeats: rows a prompt; row `b * repeats + g` belongs to prompt b.
        room: tokens that may come.
    """

    def __init__(self, cache: Cache, mask: torch.Tensor, *, repeats: int, room: int) -> None:
        """Make room."""
        self.cache, self.mask = cache, mask.bool()
        self.owners = torch.arange(len(mask), device=mask.device).repeat_interleave(repeats)  # (R,)
        cache.layers = [CascadeLayer(layer, rows=len(self.owners), room=room) for layer in cache.layers]
        self._lay_out()

    def _lay_out(self) -> None:
        """Give each row a place among those of its prompt, in a table (B, W) as wide as the largest group."""
        counts = torch.bincount(self.owners, minlength=len(self.mask))  # (B,)
        first = counts.cumsum(0) - counts
        self.width = int(counts.max())
        self.places = (
            self.owners * self.width + torch.arange(len(self.owners), device=counts.device) - first[self.owners]
        )
        hidden = ~self.mask
        self.hidden = hidden[:, None, None] if hidden.any() else None  # (B, 1, 1, P)

    def batch_select_indices(self, rows: torch.Tensor) -> None:
        """Keep some rows, in order, and the prompts they belong to."""
        prompts, owners = self.owners[rows].unique(return_inverse=True)
        fewer = prompts if len(prompts) < len(self.mask) else None
        for layer in self.cache.layers:
            layer.select(rows, fewer)
        self.owners, self.mask = owners, self.mask if fewer is None else self.mask[fewer]
        self._lay_out()

    def mask_with_one_more(self) -> None:
        """Return no mask: every row attends to all of its own tokens, and the prompts' padding is hidden here."""

    @contextmanager
    def attending(self, model: PreTrainedModel) -> Iterator[None]:
        """Let the model's layers attend in two parts while the block runs."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        ALL_ATTENTION_FUNCTIONS.register(NAME, cascade_attention)
        found = (getattr(module, "config", None) for module in model.modules())
        configs = {id(config): config for config in found if getattr(config, "_attn_implementation", None) is not None}
        before = {key: config._attn_implementation_internal for key, config in configs.items()}
        token = _active.set(self)
        try:
            for config in configs.values():
                config._attn_implementation_internal = NAME
            yield
        finally:
            _active.reset(token)
            for key, config in configs.items():
                config._attn_implementation_internal = before[key]

    def attend(self, number: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the attention of one token a row.

        Args:
            number: of the layer.
            query: (R, N, 1, D); N heads, a multiple of the K that keys have.
            scaling: of the scores.

        Returns:
            (R, 1, N, D'), with the width D' of the values.
        """
        layer = self.cache.layers[number]
        rows, heads, _, size = query.shape
        keys = layer.keys.shape[1]
        own = query.view(rows, keys, heads // keys, size) * scaling  # (R, K, N / K, D)
        high, total, weighted = self._prompts(layer, own)
        scores = (own @ layer.keys.transpose(2, 3)).float()  # (R, K, N / K, S)
        highest = torch.maximum(high, scores.amax(-1, keepdim=True))
        shrink = (high - highest).exp()
        weights = (scores - highest).exp()
        weighted = weighted * shrink + (weights.to(layer.values.dtype) @ layer.values).float()
        output = weighted / (total * shrink + weights.sum(-1, keepdim=True))
        return output.to(query.dtype).view(rows, 1, heads, -1)

    def _prompts(self, layer: "CascadeLayer", own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Attend to the prompts: highest score, sum of exp(score - highest), and values weighed by it; (R, K, N / K, 1 or D)."""
        prompts, width = len(self.mask), self.width
        _, keys, share, size = own.shape
        table = own.new_zeros(prompts * width, keys, share, size).index_copy_(0, self.places, own)
        queries = table.view(prompts, width, keys, share, size).transpose(1, 2).reshape(prompts, keys, -1, size)
        scores = (queries @ layer.prompt_keys.transpose(2, 3)).float()  # (B, K, W N / K, P)
        if self.hidden is not None:
            scores = scores.masked_fill_(self.hidden, torch.finfo(scores.dtype).min)
        highest = scores.amax(-1, keepdim=True)
        weights = (scores - highest).exp_()
        parts = (
            highest,
            weights.sum(-1, keepdim=True),
            (weights.to(layer.prompt_values.dtype) @ layer.prompt_values).float(),
        )

        def by_row(part: torch.Tensor) -> torch.Tensor:
            return (
                part.view(prompts, keys, width, share, -1)
                .transpose(1, 2)
                .reshape(-1, keys, share, part.shape[-1])[self.places]
            )

        high, total, weighted = map(by_row, parts)
        return high, total, weighted


_active: ContextVar[Cascade] = ContextVar("cascade")


def cascade_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the cascade that is active does; the signature is that of transformers' attention functions.

    Raises:
        ValueError: this model's attention has a rule of its own, or more than one token came.
    """
    found = [name for name in OTHER_RULES if kwargs.get(name) is not None]
    if found or query.shape[2] != 1:
        raise ValueError(f"attention with {found or 'more than one token a step'} is not known in two parts")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _active.get().attend(module.layer_idx, query, scale), None
