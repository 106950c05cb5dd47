"""Writing token by token: a loop that computes each prompt once, and the library's own `generate` where that fails.

The loop is our own because `generate` repeats its input before the prefill: with G completions a prompt it computes every prompt,
with its pictures, G times. It also draws from one global stream, so that a row's tokens depend on the rest of its batch.

Positions are always passed explicitly: models with mRoPE keep `rope_deltas` of the last prefill on the module.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from .attention import why_not_repeated
from .cache import join_padded, preallocate
from .cascade import Cascade, can_cascade
from .sampling import TokenSampler


LOOK_EVERY = 8  # [ours] tokens between two looks at who still writes, on a GPU: each makes the host wait
SHRINK_AT = 0.75  # [ours] finished rows are dropped from the batch when at most this share still writes


class Generated:
    """What R rows have written so far.

    Attributes:
        tokens: (R, S) ids, stop token included.
        logps: (R, S) log-probs under the model.
        lengths: (R,) tokens that count.
    """

    def __init__(self, rows: int, steps: int, device: torch.device) -> None:
        """Start empty."""
        self.tokens = torch.zeros(rows, steps, dtype=torch.long, device=device)
        self.logps = torch.zeros(rows, steps, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)

    def add(
        self, rows: torch.Tensor, step: int, tokens: torch.Tensor, logps: torch.Tensor, alive: torch.Tensor
    ) -> None:
        """Append one token to each of `rows` that still writes; others stay as they are, and no number leaves the device."""
        self.tokens[rows, step] = torch.where(alive, tokens, 0)
        self.logps[rows, step] = torch.where(alive, logps, 0.0)
        self.lengths[rows] = torch.where(alive, step + 1, self.lengths[rows])


def positions_of(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return explicit positions: those of the collator (mRoPE), else counted over what is not padding."""
    if inputs.get("position_ids") is not None:
        return inputs["position_ids"]  # (B, T), (3, B, T) or (4, B, T)
    return (inputs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)  # (B, T)


@torch.no_grad()
def decode_shared(
    model: PreTrainedModel,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    repeats: int,
    sampler: TokenSampler,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    cascade: bool = True,
) -> Generated:
    """Compute every prompt once and write `repeats` completions behind it.

    Args:
        model: the transformers model, in eval mode.
        inputs: left-padded prompts (B, T) as the host's collator makes them, without labels; or a list of such, which go through
            the model one after the other.
        repeats: completions a prompt; row `b * repeats + g` is completion g of prompt b.
        sampler: knows R = B * repeats rows.
        stop_ids: tokens that end a completion.
        max_new_tokens: S, the length at which it is cut.
        cascade: keep the cache of a prompt once for its group where the model's cache allows it; False repeats it.

    Raises:
        ValueError: no cache of this model can be repeated or joined; it says why.
    """
    reason = why_not_repeated(model)
    if reason is not None:
        raise ValueError(reason)
    prompts = prefill(model, [inputs] if isinstance(inputs, Mapping) else inputs)
    cache, following = prompts.cache, prompts.following.repeat_interleave(repeats, 0)  # (R,)
    behind: Cascade | Repeated
    if cascade and can_cascade(cache):
        behind = Cascade(cache, prompts.mask, repeats=repeats, room=max_new_tokens)
    else:
        behind = Repeated(cache, prompts.mask, repeats=repeats, room=max_new_tokens)
    logits = prompts.logits.repeat_interleave(repeats, 0)  # (R, V)
    rows = torch.arange(len(logits), device=logits.device)
    stops = torch.tensor(list(stop_ids), device=logits.device)
    written = Generated(len(rows), max_new_tokens, logits.device)
    alive = torch.ones_like(rows, dtype=torch.bool)
    every = LOOK_EVERY if logits.is_cuda else 1
    for step in range(max_new_tokens):
        tokens, logps = sampler.sample(logits, rows, step)
        written.add(rows, step, tokens, logps, alive)
        alive = alive & ~torch.isin(tokens, stops)
        if step + 1 == max_new_tokens:
            break
        if (step + 1) % every == 0:
            living = int(alive.sum())  # the one number that the host waits for
            if living == 0:
                break
            if living <= SHRINK_AT * len(rows):
                kept = alive.nonzero()[:, 0]
                behind.batch_select_indices(kept)
                rows, tokens, following, alive = (tensor[kept] for tensor in (rows, tokens, following, alive))
        here = (following + step)[:, None]  # (A, 1)
        with behind.attending(model):
            output = model(
                input_ids=tokens[:, None],
                attention_mask=behind.mask_with_one_more(),
                position_ids=here.expand(*prompts.axes, -1, -1),
                past_key_values=cache,
                use_cache=True,
                return_dict=True,
            )
        logits = output.logits[:, -1]
    return written


class Repeated:
    """Rows that are written behind a cache that is repeated for them; the same face as `Cascade`.

    Args:
        cache: of B prompts.
        mask: (B, P) which of the prompts' tokens are there.
        repeats: rows a prompt.
        room: tokens that may come.
    """

    def __init__(self, cache: Cache, mask: torch.Tensor, *, repeats: int, room: int) -> None:
        """Repeat."""
        self.cache, self.mask = cache, mask.repeat_interleave(repeats, 0)  # (R, T)
        cache.batch_repeat_interleave(repeats)
        preallocate(cache, room=room)

    def batch_select_indices(self, rows: torch.Tensor) -> None:
        """Keep some rows."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def mask_with_one_more(self) -> torch.Tensor:
        """Return the mask (R, T) with the token that comes."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        return self.mask

    def attending(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()


class Prefilled(NamedTuple):
    """Prompts that have gone through the model.

    Attributes:
        cache: of B prompts.
        mask: (B, P) which of their tokens are there.
        logits: (B, V) of the token that comes.
        following: (B,) its position.
        axes: of positions, before (B, T): () or (3,).
    """

    cache: Cache
    mask: torch.Tensor
    logits: torch.Tensor
    following: torch.Tensor
    axes: tuple[int, ...]


def prefill(model: PreTrainedModel, parts: Sequence[Mapping[str, Any]]) -> Prefilled:
    """Compute prompts, part by part, and join their caches.

    Raises:
        ValueError: there are several parts, and caches of this model cannot be joined.
    """
    found = []
    for inputs in parts:
        positions = positions_of(inputs)
        # the next position follows the largest so far: with mRoPE an image takes fewer positions than tokens
        axes = tuple(axis for axis in range(positions.dim()) if axis != positions.dim() - 2)
        output = model(**prefill_arguments(model, inputs), position_ids=positions, use_cache=True, return_dict=True)
        following = positions.amax(axes) + 1
        cache, mask = output.past_key_values, inputs["attention_mask"]
        found.append(Prefilled(cache, mask, output.logits[:, -1], following, tuple(positions.shape[:-2])))
    if len(found) == 1:
        return found[0]
    if not all(can_cascade(part.cache) for part in found):
        raise ValueError("caches of this model cannot be joined")
    longest = max(part.mask.shape[1] for part in found)
    cache = join_padded([part.cache for part in found], longest)
    mask = torch.cat([F.pad(part.mask, (longest - part.mask.shape[1], 0)) for part in found])
    logits, following = (torch.cat([part[number] for part in found]) for number in (2, 3))
    return Prefilled(cache, mask, logits, following, found[0].axes)


def prefill_arguments(model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model takes for a pass that is there for its cache and its last logits; positions are passed apart."""
    given = {name: value for name, value in inputs.items() if name not in ("position_ids", "rope_deltas", "labels")}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        given["logits_to_keep"] = 1  # logits of the prompt are not needed
    return given


class _PickProcessor(LogitsProcessor):
    """Lets a picker decide inside the library's greedy search."""

    def __init__(self, sampler: TokenSampler, written: Generated, stop_ids: Sequence[int], prompt_length: int) -> None:
        self.sampler, self.written, self.prompt_length = sampler, written, prompt_length
        self.stops = torch.tensor(list(stop_ids), device=written.tokens.device)
        self.alive = torch.ones_like(written.lengths, dtype=torch.bool)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows, step = torch.arange(len(scores), device=scores.device), input_ids.shape[1] - self.prompt_length
        tokens, logps = self.sampler.sample(scores, rows, step)
        self.written.add(rows, step, tokens, logps, self.alive)
        self.alive = self.alive & ~torch.isin(tokens, self.stops)
        return torch.full_like(scores, float("-inf")).scatter(-1, tokens[:, None], 0.0)


@torch.no_grad()
def decode_plain(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    *,
    sampler: TokenSampler,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    pad_id: int,
) -> Generated:
    """Write with the library's `generate`, every row of `inputs` for itself: slower, and as general as the library is."""
    given = {name: value for name, value in inputs.items() if name not in ("rope_deltas", "labels")}
    given["position_ids"] = positions_of(inputs)
    rows, length = inputs["input_ids"].shape
    written = Generated(rows, max_new_tokens, inputs["input_ids"].device)
    processor = _PickProcessor(sampler, written, stop_ids, length)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
        use_cache=True,
    )
    with _without_own_config(model):
        model.generate(**given, generation_config=config, logits_processor=LogitsProcessorList([processor]))
    return written


@contextmanager
def _without_own_config(model: PreTrainedModel) -> Iterator[None]:
    """A released model brings penalties and temperatures of its own, which `generate` would mix in."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
