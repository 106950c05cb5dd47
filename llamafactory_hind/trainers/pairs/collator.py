"""Batches of preference pairs: two rows a pair as the host makes them, or one packed row that holds the prompt once.

A packed row is `prompt, chosen, rejected`; `segments` says which is which (0, 1, 2; -1 padding). The rejected answer
takes the positions it would have right after the prompt, and `packed_masks` hides the chosen answer from it, so
that the image tower and the prompt tokens are computed once a pair.
"""

from dataclasses import dataclass
from typing import Any

import torch
from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq
from llamafactory.extras.constants import IGNORE_INDEX

from ...engines.local.packing import lay_out
from ...formats.media.fields import MEDIA_FIELDS
from ..row_guard import GuardedCollator, stand_ins, weights_of


REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
PAIR_KEYS = ("labels", "segments", "sources", "pairs", "weights", *REFERENCE_COLUMNS)  # of a batch, not for the model


@dataclass
class PairCollator(GuardedCollator, MultiModalDataCollatorForSeq2Seq):
    """Collate the rows of `formats.processors.pairs.PairProcessor` into a batch of pairs.

    Beside what the model takes, the batch holds `PAIR_KEYS`: `labels` (-100 where nothing is scored), `pairs` (how many count),
    `weights` (N,) where a pair stands in for a bad one, `segments` and `sources` (packed form only: the position that predicts each token) and, when the rows have them,
    `ref_chosen_logps` and `ref_rejected_logps` (N,). Plain form: 2N rows, chosen first, as the host's collator orders them.
    """

    packed: bool = False

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these very pairs, or fail."""
        batch = self.packed_batch(features) if self.packed else self.plain_batch(features)
        batch |= weights_of(features)
        batch["pairs"] = torch.tensor(len(features) - len(stand_ins(features)))
        for name in REFERENCE_COLUMNS:
            if name in features[0]:
                batch[name] = torch.tensor([feature[name] for feature in features], dtype=torch.float32)
        return batch

    def plain_batch(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Two rows a pair: (2N, T), the N chosen ones first."""
        rows = [
            self._row(feature, feature["prompt_input_ids"], [feature[name]])
            for name in ("chosen_ids", "rejected_ids")
            for feature in features
        ]
        return dict(MultiModalDataCollatorForSeq2Seq.__call__(self, rows))

    def packed_batch(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """One row a pair: (N, T) with segments, sources and positions of the rejected answer moved back to the prompt."""
        rows = [
            self._row(feature, feature["prompt_input_ids"], [feature["chosen_ids"], feature["rejected_ids"]])
            for feature in features
        ]
        inputs = dict(MultiModalDataCollatorForSeq2Seq.__call__(self, rows))
        names = ("prompt_input_ids", "chosen_ids", "rejected_ids")
        parts = [[len(feature[name]) for name in names] for feature in features]
        layout = lay_out(inputs, parts, left=self.tokenizer.padding_side == "left")
        inputs["position_ids"] = layout.positions
        inputs.pop("rope_deltas", None)  # would be wrong for a packed row; positions are explicit
        return {**inputs, "segments": layout.segments, "sources": layout.sources}

    @staticmethod
    def _row(feature: dict[str, Any], prompt: list[int], answers: list[list[int]]) -> dict[str, Any]:
        ids = list(prompt)
        labels = [IGNORE_INDEX] * len(prompt)
        for answer in answers:
            ids += answer
            labels += answer
        media = {name: feature.get(name) for name in MEDIA_FIELDS}
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels, **media}
