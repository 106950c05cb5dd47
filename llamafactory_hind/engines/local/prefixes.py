"""Requests about the same media that begin alike: the beginning is computed once, its cache serves all of them.

Scoring an answer with eight facts costs one pass over the image instead of nine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from .attention import media_ids, why_not_cached
from .cache import shallow_copy
from .decoding import positions_of, prefill_arguments


WORTH = 0.25  # [ours] share of a group's tokens that must be saved: below it a second pass costs more


@dataclass(frozen=True)
class Group:
    """Rows that share their first `length` tokens, all media among them."""

    places: tuple[int, ...]
    length: int


def group_by_prefix(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    media: Sequence[tuple[Any, ...]],
    *,
    media_ids: Sequence[int],
    largest: int,
) -> tuple[list[Group], list[int]]:
    """Find rows worth computing together.

    Args:
        rows: prompt ids and answer ids of each row.
        media: identity of the media of each row; only rows with equal media share anything.
        media_ids: placeholder ids; none may come after the shared part.
        largest: rows a group at most.

    Returns:
        Groups of two rows or more, and the places of all other rows.
    """
    by_media: dict[tuple[Any, ...], list[int]] = {}
    for place, names in enumerate(media):
        by_media.setdefault(names, []).append(place)
    groups: list[Group] = []
    alone: list[int] = []
    forbidden = set(media_ids)
    for places in by_media.values():
        for start in range(0, len(places), largest):
            some = places[start : start + largest]
            # the last prompt token stays out: it predicts the first token of the answer
            length = common_length([rows[place][0][:-1] for place in some])
            total = sum(len(rows[place][0]) + len(rows[place][1]) for place in some)
            late_media = any(token in forbidden for place in some for token in rows[place][0][length:])
            if len(some) > 1 and not late_media and length * (len(some) - 1) >= WORTH * total:
                groups.append(Group(tuple(some), length))
            else:
                alone += some
    return groups, alone


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all sequences begin with."""
    lowest, highest = min(map(tuple, sequences)), max(map(tuple, sequences))  # whatever these two share, all share
    differing = (place for place, (first, second) in enumerate(zip(lowest, highest, strict=False)) if first != second)
    return next(differing, min(len(lowest), len(highest)))


def shared_logprobs(
    model: PreTrainedModel,
    prefixes: Mapping[str, Any],
    rows: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    *,
    pad_id: int,
    token_logprobs: Callable[[Mapping[str, Any], torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Score rows whose prompts begin with one of `prefixes`; see `compute_prefixes` and `logprobs_behind`, which it joins."""
    prefix = compute_prefixes(model, prefixes)
    return logprobs_behind(prefix, rows, pad_id=pad_id, token_logprobs=token_logprobs, last=True)


@dataclass(frozen=True)
class Prefixes:
    """Beginnings that a model has read.

    Attributes:
        cache: keys and values of G beginnings, with gradient where it is enabled.
        attention_mask: (G, P).
        positions: (G, P), or (A, G, P) with several axes.
        marks: name and value of an input that says of every token whether it is text; None where the model takes none.
    """

    cache: Cache
    attention_mask: torch.Tensor
    positions: torch.Tensor
    marks: tuple[str, int] | None


def compute_prefixes(model: PreTrainedModel, prefixes: Mapping[str, Any]) -> Prefixes:
    """Let the model read beginnings.

    Args:
        model: the transformers model.
        prefixes: left-padded beginnings (G, P) as the host's collator makes them, without labels.

    Raises:
        ValueError: no cache of this model can be repeated; it says why.
    """
    reason = why_not_cached(model)
    if reason is not None:
        raise ValueError(reason)
    positions = positions_of(prefixes)
    cache = model(
        **prefill_arguments(model, prefixes), position_ids=positions, use_cache=True, return_dict=True
    ).past_key_values
    if cache is None:  # some families of transformers 4
        raise ValueError("it gives no cache in training mode")
    marks = media_ids(model)
    # asked for in training, although all that follows is text
    asked = model.training and marks is not None and marks.name in prefixes
    return Prefixes(
        cache, prefixes["attention_mask"], positions, (marks.name, marks.text) if asked and marks is not None else None
    )


def logprobs_behind(
    prefix: Prefixes,
    rows: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    *,
    pad_id: int,
    token_logprobs: Callable[[Mapping[str, Any], torch.Tensor], torch.Tensor],
    last: bool = False,
) -> torch.Tensor:
    """Score rows whose prompts begin with one of G beginnings.

    Args:
        prefix: the beginnings.
        rows: (number of the prefix, rest of the prompt, answer) of each of R rows; no rest is empty.
        pad_id: any id.
        token_logprobs: `scoring.token_logprobs` of the model: inputs and labels -> (R, S).
        last: nothing else follows, so the cache is used up.

    Returns:
        (R, S) float32 log-probs of the answers' tokens, 0 elsewhere.
    """
    positions = prefix.positions
    device = positions.device
    owners = torch.tensor([number for number, _, _ in rows], device=device)
    cache = prefix.cache if last else shallow_copy(prefix.cache)
    cache.batch_select_indices(owners)
    width = max(len(rest) + len(answer) for _, rest, answer in rows)
    ids = torch.full((len(rows), width), pad_id, device=device)  # (R, S)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (_, rest, answer) in enumerate(rows):
        length = len(rest) + len(answer)
        ids[row, :length] = torch.tensor([*rest, *answer], device=device)
        mask[row, :length] = 1
        labels[row, len(rest) : length] = torch.tensor(list(answer), dtype=torch.long, device=device)
    axes = tuple(axis for axis in range(positions.dim()) if axis != positions.dim() - 2)
    following = positions.amax(axes)[owners] + 1  # (R,)
    here = following[:, None] + torch.arange(width, device=device)  # (R, S)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.cat([prefix.attention_mask[owners], mask], dim=1),  # (R, P + S)
        "position_ids": here.expand(*positions.shape[:-2], -1, -1),
        "past_key_values": cache,
    }
    if prefix.marks is not None:
        name, text = prefix.marks
        inputs[name] = torch.full_like(ids, text)
    return token_logprobs(inputs, labels)
