"""Several texts in one row that share its prompt: segments, and the masks that keep them apart."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from .attention import AttentionKind, MediaIds, attention_kinds, media_ids, takes_additive_mask
from .decoding import positions_of
from .scoring import IGNORE_INDEX, base_model


PROMPT, CHOSEN, REJECTED, PADDING = 0, 1, 2, -1  # segments of a packed pair; of a group they go on: 1 .. G
# Inputs that tie tokens together: token types by a rule of the model's own, the others in ways no packed row can express.
TYPE_INPUTS = {"token_type_ids", "mm_token_type_ids"}  # (N, T), what each token is
UNPACKABLE_INPUTS = ("token_type_ids", "cross_attention_mask", "image_bound", "data")


def packed_attention_mask(
    segments: torch.Tensor,
    *,
    dtype: torch.dtype | None,
    kind: AttentionKind = AttentionKind(),  # noqa: B008, it is frozen
    pictures: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let each token see the tokens before it that are prompt or of its own segment, as far as a kind of layer looks.

    Windows and chunks are counted in tokens of the text that a token belongs to (prompt and its own segment), as in
    a row of its own, not in places of the packed row.

    Args:
        segments: (N, T), 0 prompt, 1 chosen, 2 rejected, -1 padding; of a group 1 .. G.
        dtype: None gives a boolean mask (True = may attend); a float dtype gives an additive mask.
        kind: window and chunk.
        pictures: (N, T) number of the picture a token belongs to, -1 for text: such tokens see their whole picture.

    Returns:
        (N, 1, T, T). Padding sees itself alone, so that no row of the softmax is empty.
    """
    length = segments.shape[1]
    queries, keys = segments.unsqueeze(2), segments.unsqueeze(1)  # (N, T, 1), (N, 1, T)
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    allowed = causal & (queries != PADDING) & ((keys == PROMPT) | (keys == queries))
    allowed = allowed | torch.eye(length, dtype=torch.bool, device=segments.device)
    if kind.window is not None or kind.chunk is not None:
        place = allowed.sum(-1, dtype=torch.int32) - 1  # (N, T) of a token in its own text
        if kind.window is not None:
            allowed = allowed & (place.unsqueeze(1) > place.unsqueeze(2) - kind.window)
        if kind.chunk is not None:
            chunk = place.div(kind.chunk, rounding_mode="floor")
            allowed = allowed & (chunk.unsqueeze(1) == chunk.unsqueeze(2))
    if pictures is not None:
        allowed = allowed | ((pictures.unsqueeze(2) == pictures.unsqueeze(1)) & (pictures >= 0).unsqueeze(2))
    allowed = allowed.unsqueeze(1)  # (N, 1, T, T)
    if dtype is None:
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def number_pictures(is_media: torch.Tensor) -> torch.Tensor:
    """Number the runs of media tokens of each row (N, T) bool; -1 is text. Two pictures side by side are one run."""
    before = torch.nn.functional.pad(is_media, (1, 0))[:, :-1]
    return torch.where(is_media, (is_media & ~before).cumsum(-1) - 1, -1)


def packed_masks(
    model: torch.nn.Module, inputs: Mapping[str, Any], segments: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return what a model takes as `attention_mask` of packed rows.

    Args:
        model: one that `why_not_packed` has nothing against.
        inputs: of the rows; those that mark bidirectional media are read.
        segments: (N, T), as `packed_attention_mask` takes them.

    Returns:
        One mask (N, 1, T, T), or, where kinds of layers differ, name in `layer_types` -> mask.

    Raises:
        ValueError: the inputs tie tokens together in ways that this model is not known for.
    """
    check_inputs(inputs, marks := media_ids(model))
    pictures = None
    if marks is not None and marks.name in inputs:
        pictures = number_pictures((inputs[marks.name] == marks.media) & (segments == PROMPT))
    dtype = base_model(model).dtype if takes_additive_mask(model) else None
    length = segments.shape[1]
    made: dict[AttentionKind, torch.Tensor] = {}
    masks = {}
    for name, kind in attention_kinds(model).items():
        # a row within the window or chunk is not cut by it: one mask then serves all layers
        cut = AttentionKind(*(size if size and size < length else None for size in (kind.window, kind.chunk)))
        if cut not in made:
            made[cut] = packed_attention_mask(segments, dtype=dtype, kind=cut, pictures=pictures)
        masks[name] = made[cut]
    return next(iter(made.values())) if len(made) == 1 else masks


def check_inputs(inputs: Mapping[str, Any], marks: MediaIds | None) -> None:
    """Refuse inputs that one packed row cannot express.

    Raises:
        ValueError: it names them.
    """
    known = {marks.name} if marks is not None else set()
    found = [name for name in UNPACKABLE_INPUTS if name in inputs and name not in known]
    if found:
        raise ValueError(f"this model takes {found}, which a packed row cannot express (set `share_prefix: off`)")


class Layout(NamedTuple):
    """Where the texts of packed rows stand.

    Attributes:
        segments: (N, T), 0 prompt, 1 .. G texts, -1 padding.
        sources: (N, T) the position that predicts each token.
        positions: `position_ids` (N, T), or (A, N, T) with several axes: each text follows the prompt.
    """

    segments: torch.Tensor
    sources: torch.Tensor
    positions: torch.Tensor


def lay_out(inputs: Mapping[str, Any], parts: Sequence[Sequence[int]], *, left: bool) -> Layout:
    """Lay out rows `prompt, text 1, text 2, ...` that a collator has padded.

    Args:
        inputs: `input_ids` (N, T), `attention_mask`, and `position_ids` where the collator makes them.
        parts: of each row the lengths of its prompt and of its texts, none of which is empty.
        left: padding is on the left.
    """
    ids = inputs["input_ids"]
    segments = torch.full_like(ids, PADDING)
    sources = (torch.arange(ids.shape[1], device=ids.device) - 1).repeat(len(ids), 1)
    if "position_ids" in inputs:
        positions = inputs["position_ids"].clone()
    else:
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    for row, (prompt, *texts) in enumerate(parts):
        start = ids.shape[1] - prompt - sum(texts) if left else 0
        first = place = start + prompt
        segments[row, start:first] = PROMPT
        following = positions[..., row, first].clone().unsqueeze(-1)  # where every text begins
        for number, length in enumerate(texts, start=1):
            segments[row, place : place + length] = number
            sources[row, place] = first - 1  # the last prompt token predicts the first token of every text
            positions[..., row, place : place + length] = following + torch.arange(length, device=ids.device)
            place += length
    return Layout(segments, sources, positions)


class Packed:
    """A packed row a group.

    Attributes:
        inputs: for the model, without a mask.
        labels: (N, P + L), -100 in prompts and padding.
        sources: (N, P + L) the position that predicts each label.
        segments: (N, P + L), 0 prompt, 1 .. G completions, -1 padding.
        columns: (R, S) where each completion's tokens are.
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
    """
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
    for name in TYPE_INPUTS & prompts.keys():  # what completions get is not read: `segments` says they are text
        packed.inputs[name] = torch.nn.functional.pad(prompts[name], (0, longest))
    return packed
