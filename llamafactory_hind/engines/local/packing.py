"""Several texts in one row that share its prompt: segments, the mask that keeps them apart, and whether a model takes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .decoding import positions_of
from .scoring import IGNORE_INDEX, base_model


PROMPT, CHOSEN, REJECTED, PADDING = 0, 1, 2, -1  # segments of a packed pair; of a group they go on: 1 .. G
# Inputs that tie tokens together in ways one packed row cannot express (bidirectional prefixes, cross attention, slices).
UNPACKABLE_INPUTS = ("token_type_ids", "cross_attention_mask", "image_bound", "data")


def packed_attention_mask(segments: torch.Tensor, *, dtype: torch.dtype | None) -> torch.Tensor:
    """Let each token see the tokens before it that are prompt or of its own segment.

    Args:
        segments: (N, T), 0 prompt, 1 chosen, 2 rejected, -1 padding.
        dtype: None gives a boolean mask (True = may attend); a float dtype gives an additive mask.

    Returns:
        (N, 1, T, T). Padding sees itself alone, so that no row of the softmax is empty.
    """
    length = segments.shape[1]
    queries, keys = segments.unsqueeze(2), segments.unsqueeze(1)  # (N, T, 1), (N, 1, T)
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    allowed = causal & (queries != PADDING) & ((keys == PROMPT) | (keys == queries))
    allowed = allowed | torch.eye(length, dtype=torch.bool, device=segments.device)
    allowed = allowed.unsqueeze(1)  # (N, 1, T, T)
    if dtype is None:
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def why_not_packed(model: torch.nn.Module) -> str | None:
    """Return why this model cannot take a packed row with a mask of its own, None if nothing speaks against it."""
    config = base_model(model).config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    attention = getattr(text, "_attn_implementation", None) or getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        return f"attention `{attention}` takes no mask of one's own (use `flash_attn: sdpa`)"
    kinds = set(getattr(text, "layer_types", None) or []) - {"full_attention"}
    if kinds:
        return f"layers of kind {sorted(kinds)} look past a mask"
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    if not getattr(text, "num_attention_heads", None) or hasattr(text, "ssm_cfg"):
        return "it is not an attention model"
    return None


class Packed:
    """A packed row a group.

    Attributes:
        inputs: for the model, without a mask.
        labels: (N, P + L), -100 in prompts and padding.
        sources: (N, P + L) the position that predicts each label.
        segments: (N, P + L), 0 prompt, 1 .. G completions, -1 padding.
        columns: (R, S) where each completion's tokens stand.
    """

    def __init__(self, inputs: dict[str, Any], labels: torch.Tensor, columns: torch.Tensor) -> None:
        """Sources are the positions before, until `pack` says otherwise."""
        self.inputs, self.labels, self.columns = inputs, labels, columns
        self.segments = torch.full_like(labels, PADDING)
        self.sources = (torch.arange(labels.shape[1], device=labels.device) - 1).repeat(len(labels), 1)


def pack(prompts: Mapping[str, Any], tokens: torch.Tensor, mask: torch.Tensor, owners: Sequence[int]) -> Packed:
    """Append to each left-padded prompt its completions, one after the other, their positions following the prompt's.

    Args:
        prompts: (N, P) as the host's collator makes them.
        tokens: (R, S) ids of the completions, padded on the right.
        mask: (R, S) bool, which of them are there.
        owners: number of each completion's prompt, never falling.

    Raises:
        ValueError: the model takes inputs that tie tokens together in ways a packed row cannot express.
    """
    found = [name for name in UNPACKABLE_INPUTS if name in prompts]
    if found:
        raise ValueError(f"this model takes {found}")
    ids, positions = prompts["input_ids"], positions_of(prompts)
    count, width = ids.shape
    lengths = mask.sum(1).tolist()
    totals = [0] * count
    starts = []  # of each completion behind its prompt
    for owner, length in zip(owners, lengths, strict=True):
        starts.append(totals[owner])
        totals[owner] += length
    longest = max(totals)
    axes = tuple(axis for axis in range(positions.dim()) if axis != positions.dim() - 2)
    following = positions.amax(axes) + 1  # (N,) with mRoPE an image takes fewer positions than tokens
    offsets = torch.zeros(count, longest, dtype=torch.long, device=ids.device)
    answers = torch.zeros_like(offsets)
    labels = torch.full((count, width + longest), IGNORE_INDEX, device=ids.device)
    columns = (
        width + torch.tensor(starts, device=ids.device)[:, None] + torch.arange(tokens.shape[1], device=ids.device)
    )  # (R, S)
    columns = columns.clamp(max=width + longest - 1)
    packed = Packed({name: value for name, value in prompts.items() if name != "rope_deltas"}, labels, columns)
    packed.segments[:, :width] = torch.where(prompts["attention_mask"].bool(), PROMPT, PADDING)
    seen = [0] * count
    for row, (owner, start, length) in enumerate(zip(owners, starts, lengths, strict=True)):
        seen[owner] += 1
        place = slice(start, start + length)
        answers[owner, place] = tokens[row, :length]
        offsets[owner, place] = torch.arange(length, device=ids.device)
        packed.segments[owner, width + start : width + start + length] = seen[owner]
        labels[owner, width + start : width + start + length] = tokens[row, :length]
        packed.sources[owner, width + start] = (
            width - 1
        )  # the last prompt token predicts the first of every completion
    here = (following[:, None] + offsets).expand(*positions.shape[:-2], -1, -1)
    packed.inputs |= {"input_ids": torch.cat([ids, answers], 1), "position_ids": torch.cat([positions, here], -1)}
    return packed
