"""Batches of rated texts."""

from dataclasses import dataclass
from typing import Any

import torch
from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq
from llamafactory.extras.constants import IGNORE_INDEX

from ...formats.media.fields import MEDIA_FIELDS
from ...formats.processors.prompts import PROMPT
from ..row_guard import GuardedCollator, weights_of


TARGETS = ("accepted", "qa_score", "rationale_score")  # of a batch, not for the model
WEIGHTS = "weights"


@dataclass
class CriticCollator(GuardedCollator, MultiModalDataCollatorForSeq2Seq):
    """Collate rows of `formats.processors.critic` into what the model takes, `TARGETS` and `weights`, (N,) float32 each."""

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these very rows; one that stands in for a bad one has the weight 0."""
        rows = [
            {
                "input_ids": feature[PROMPT],
                "attention_mask": [1] * len(feature[PROMPT]),
                "labels": [IGNORE_INDEX] * len(feature[PROMPT]),
                **{kind: feature.get(kind) for kind in MEDIA_FIELDS},
            }
            for feature in features
        ]
        batch = dict(MultiModalDataCollatorForSeq2Seq.__call__(self, rows))
        del batch["labels"]
        batch.pop("rope_deltas", None)  # positions are explicit
        for name in TARGETS:
            batch[name] = torch.tensor([feature[name] for feature in features], dtype=torch.float32)
        return batch | {WEIGHTS: torch.ones(len(features))} | weights_of(features)
