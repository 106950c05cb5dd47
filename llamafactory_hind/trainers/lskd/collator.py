"""Batches of pictures and their texts: what the host's `sft` makes of the rows, and the texts apart from their media."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask

from ...engines.local.matching.texts import TextSplitter
from ...formats.media.fields import MEDIA_FIELDS
from ..row_guard import GuardedCollator


@dataclass
class MatchingCollator(GuardedCollator, SFTDataCollatorWith4DAttentionMask):
    """Collate rows of `formats.processors.matching`: the host's `sft` batch, and `engines.local.matching.bodies.TEXT_KEYS`."""

    @cached_property
    def splitter(self) -> TextSplitter:
        """Takes texts and media apart."""
        return TextSplitter(self.template, self.tokenizer)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these very rows.

        Raises:
            ValueError: a row has no token of its media, or nothing behind them.
        """
        rows = [_host_row(feature) for feature in features]
        batch = dict(SFTDataCollatorWith4DAttentionMask.__call__(self, rows))
        batch |= self.splitter.keys([list(feature["input_ids"]) for feature in features], batch["attention_mask"])
        batch["pictures"] = torch.tensor([feature["picture"] for feature in features])
        return batch


def _host_row(feature: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the host's collator takes it."""
    ids = list(feature["input_ids"])
    media = {kind: feature.get(kind) for kind in MEDIA_FIELDS}
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": list(feature["labels"]), **media}
