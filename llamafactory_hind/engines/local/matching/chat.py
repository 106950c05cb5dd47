"""The body of any chat model with media: its language model reads pictures, texts and pairs.

A causal model's state behind the media has seen nothing of the text that follows, and its state behind the text has seen both.
One pass over a row therefore gives the state of its picture, that of its own pair, and the loss of its target.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from ..pooling import at, hidden_width, last_places, pooled_states
from ..scoring import freeze_output_head, head_replaced, output_head
from ..towers import TowerCache
from .bodies import Reading, row_sums
from .heads import MatchingHeads
from .mixing import last_states, mix
from .texts import unpadded


class Memory(NamedTuple):
    """What pairs need of a batch: its inputs, and the column of the last media token of each row."""

    inputs: Mapping[str, Any]
    ends: list[int]
    tails: list[torch.Tensor]


class ChatBody:
    """Reads with the states that the output head sees.

    Args:
        model: its frozen media towers are computed once a batch.

    Attributes:
        packed: several texts of a picture are read in one row, the picture computed once for them; see `proof`.
    """

    travels = ("tail_ids", "tail_mask")

    def __init__(self, model: nn.Module) -> None:
        """Find the towers."""
        self.packed = False
        self._towers = TowerCache(model)

    def new_heads(self, model: nn.Module) -> MatchingHeads:
        """Return new heads for this model."""
        return MatchingHeads(hidden_width(model))

    def read(
        self,
        model: nn.Module,
        heads: MatchingHeads,
        inputs: Mapping[str, Any],
        texts: Mapping[str, torch.Tensor],
        *,
        lm: str | None,
        pairs: bool,
    ) -> Reading:
        """Read a batch; see `bodies.Body`."""
        self._towers.clear()
        if lm == "mean" and not pairs:
            return Reading(model(**inputs).loss)
        with self._once():
            found, hidden = _read_rows(model, inputs, lm)
            if not pairs:
                return found
            ends = texts["media_ends"]
            text = self.text_states(model, heads, inputs, texts)
        own = at(hidden, last_places(inputs["attention_mask"].bool()))
        return found._replace(image=at(hidden, ends), text=text, own=own, memory=_memory(inputs, texts))

    def freeze_writer(self, model: nn.Module) -> None:
        """Freeze the output head; see `bodies.Body`."""
        freeze_output_head(model)

    def text_states(
        self, model: nn.Module, heads: MatchingHeads, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return states (N, H) of texts; see `bodies.Body`."""
        return pooled_states(model, _text_inputs(inputs, texts), pooling="last")

    def remember(self, model: nn.Module, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> Memory:
        """Return what `match` needs; see `bodies.Body`."""
        self._towers.clear()
        return _memory(inputs, texts)

    def match(
        self,
        model: nn.Module,
        heads: MatchingHeads,
        memory: Memory,
        images: Sequence[int],
        texts: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Return states (K, H) of pairs; see `bodies.Body`."""
        own: list[list[int]] = [[] for _ in memory.ends]  # numbers of the pairs of each picture
        for number, image in enumerate(images):
            own[image].append(number)
        with self._once():
            parts = self._packed(model, memory, own, texts) if self.packed else self._apart(model, memory, own, texts)
        order = torch.tensor([number for numbers, _ in parts for number in numbers])
        states = torch.cat([states for _, states in parts])
        return states[order.argsort().to(states.device)]

    def _packed(
        self, model: nn.Module, memory: Memory, own: list[list[int]], texts: Sequence[torch.Tensor]
    ) -> list[tuple[list[int], torch.Tensor]]:
        """Read all texts of a picture in one row."""
        mixed = mix(model, memory.inputs, memory.ends, [[texts[number] for number in row] for row in own], packed=True)
        return [([number for row in own for number in row], last_states(model, mixed))]

    def _apart(
        self, model: nn.Module, memory: Memory, own: list[list[int]], texts: Sequence[torch.Tensor]
    ) -> list[tuple[list[int], torch.Tensor]]:
        """Read one text of each picture after the other; pictures that have no more read their own once again."""
        parts = []
        for turn in range(max(map(len, own))):
            chosen = [
                [texts[row[turn]]] if turn < len(row) else [memory.tails[place]] for place, row in enumerate(own)
            ]
            states = last_states(model, mix(model, memory.inputs, memory.ends, chosen, packed=False))
            wanted = [place for place, row in enumerate(own) if turn < len(row)]
            parts.append(([own[place][turn] for place in wanted], states[wanted]))
        return parts

    def _once(self) -> Any:
        """Compute what frozen towers make of the pictures once a batch."""
        return self._towers.active() if self._towers.towers else nullcontext()


def _memory(inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> Memory:
    given = {name: value for name, value in inputs.items() if name != "labels"}
    return Memory(given, texts["media_ends"].tolist(), unpadded(texts["tail_ids"], texts["tail_mask"]))


def _read_rows(model: nn.Module, inputs: Mapping[str, Any], lm: str | None) -> tuple[Reading, torch.Tensor]:
    """Return the losses of the rows, and the hidden states (N, T, H)."""
    kept: list[torch.Tensor] = []
    own = output_head(model).forward

    def compute(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        kept.append(hidden)
        return own(hidden, *args, **kwargs) if lm else hidden[..., :1]

    given = dict(inputs) if lm == "mean" else {name: value for name, value in inputs.items() if name != "labels"}
    with head_replaced(model, compute):
        said = model(**given, **({} if lm == "mean" else {"use_cache": False, "return_dict": True}))
    sums = row_sums(said.logits, inputs["labels"]) if lm == "sums" else None
    return Reading(said.loss if lm == "mean" else None, sums), kept[0]


def _text_inputs(inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return texts without media as inputs; positions are given where those of rows are: the model would count otherwise."""
    made: dict[str, Any] = {"input_ids": texts["text_ids"], "attention_mask": texts["text_mask"]}
    if "position_ids" in inputs:
        places = torch.arange(texts["text_ids"].shape[1], device=texts["text_ids"].device)
        made["position_ids"] = places.expand(*inputs["position_ids"].shape[:-1], -1)
    return made
