"""Rows of a batch with other texts behind their media: the media inputs of the batch stay as they are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ..packing import TYPE_INPUTS, lay_out, packed_masks
from ..pooling import hidden_states


OF_ROWS = ("input_ids", "attention_mask", "position_ids", "rope_deltas", "labels")  # made anew, or of no use


class Mixed(NamedTuple):
    """Rows with other texts.

    Attributes:
        inputs: for the model.
        places: (row, column) of the last token of each text, row by row.
    """

    inputs: dict[str, Any]
    places: list[tuple[int, int]]


def mix(
    model: nn.Module,
    inputs: Mapping[str, Any],
    ends: Sequence[int],
    texts: Sequence[Sequence[torch.Tensor]],
    *,
    packed: bool,
) -> Mixed:
    """Return the rows of a batch, each with other texts behind its media.

    Args:
        model: that will read them.
        inputs: (N, T) as the host's collator makes them.
        ends: column of the last media token of each row.
        texts: ids of the texts of each row; without `packed` exactly one.
        packed: several texts of a row see its media, not each other.

    Raises:
        ValueError: the model takes an input a token that is not known here.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    _refuse_unknown(inputs, ids)
    starts = mask.long().argmax(1).tolist()
    spans = list(zip(starts, [end + 1 for end in ends], strict=True))
    parts = [[stop - start, *map(len, own)] for (start, stop), own in zip(spans, texts, strict=True)]
    width = max(max(map(sum, parts)), 1 + max(part[0] for part in parts))
    filler = ids[0, spans[0][1]]  # behind the media of a row: no medium
    made: dict[str, Any] = {
        "input_ids": filler.repeat(len(ids), width),
        "attention_mask": mask.new_zeros(len(ids), width),
    }
    for name in ("position_ids", *sorted(TYPE_INPUTS)):
        if name in inputs:
            made[name] = inputs[name].new_zeros(*inputs[name].shape[:-1], width)
    for row, ((start, stop), own) in enumerate(zip(spans, texts, strict=True)):
        length = stop - start
        for name in made.keys() - {"attention_mask"}:
            made[name][..., row, :length] = inputs[name][..., row, start:stop]
        if "position_ids" in made:  # where every text begins
            made["position_ids"][..., row, length] = inputs["position_ids"][..., row, stop]
        for text in own:
            made["input_ids"][row, length : length + len(text)] = text
            length += len(text)
        made["attention_mask"][row, :length] = 1
    layout = lay_out(made, parts, left=False)
    if packed or "position_ids" in made:
        made["position_ids"] = layout.positions
    others = {name: value for name, value in inputs.items() if name not in (*OF_ROWS, *TYPE_INPUTS)}
    made = {**others, **made}
    if packed:
        made["attention_mask"] = packed_masks(model, made, layout.segments)
    places = [(row, sum(part[: number + 1]) - 1) for row, part in enumerate(parts) for number in range(1, len(part))]
    return Mixed(made, places)


def last_states(model: nn.Module, mixed: Mixed) -> torch.Tensor:
    """Return the hidden states (K, H) of the last tokens of mixed rows' texts."""
    hidden = hidden_states(model, mixed.inputs)
    rows, columns = torch.tensor(mixed.places, device=hidden.device).T
    return hidden[rows, columns]


def _refuse_unknown(inputs: Mapping[str, Any], ids: torch.Tensor) -> None:
    """Refuse inputs that say something of each token, in a way that another text would need as well."""
    known = {*OF_ROWS, *TYPE_INPUTS}
    found = [
        name
        for name, value in inputs.items()
        if name not in known
        and isinstance(value, torch.Tensor)
        and not value.is_floating_point()
        and value.shape[:2] == ids.shape
    ]
    if found:
        raise ValueError(
            f"lskd: got a model that takes {found}, expected one whose texts can be exchanged. Set `itm_weight: 0`."
        )
