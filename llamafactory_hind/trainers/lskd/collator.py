"""Batches of pictures and their texts: what the host's `sft` makes of the rows, and the texts apart from their media."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask
from torch.nn.utils.rnn import pad_sequence

from ...formats.media.fields import MEDIA_FIELDS
from ...formats.processors.media_tokens import media_token_ids


@dataclass
class MatchingCollator(SFTDataCollatorWith4DAttentionMask):
    """Collate rows of `formats.processors.matching`: the host's `sft` batch, and `engines.local.matching.bodies.TEXT_KEYS`."""

    @cached_property
    def media_ids(self) -> set[int]:
        """Ids that stand for media."""
        return media_token_ids(self.template, self.tokenizer)

    @cached_property
    def wrapping_ids(self) -> set[int]:
        """Ids of media, and of what a template puts around them."""
        plugin, tokenizer = self.template.mm_plugin, self.tokenizer
        names = ("vision_bos_token", "vision_eos_token", "audio_bos_token", "audio_eos_token")
        tokens = [getattr(plugin, name, None) for name in names]
        known = {tokenizer.convert_tokens_to_ids(token) for token in tokens if token}
        return self.media_ids | (known - {tokenizer.unk_token_id, None})

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch.

        Raises:
            ValueError: a row has no token of its media.
        """
        batch = dict(super().__call__([_host_row(feature) for feature in features]))
        rows = [list(feature["input_ids"]) for feature in features]
        ends = [self._end(row) for row in rows]
        texts = {
            "text": [[token for token in row if token not in self.wrapping_ids] for row in rows],
            "tail": [row[end + 1 :] for row, end in zip(rows, ends, strict=True)],
        }
        for name, own in texts.items():
            batch[f"{name}_ids"] = _padded(own)
            batch[f"{name}_mask"] = _padded([[1] * len(text) for text in own])
        left = batch["attention_mask"].bool().int().argmax(1)  # padding before each row
        batch["media_ends"] = torch.tensor(ends) + left
        batch["pictures"] = torch.tensor([feature["picture"] for feature in features])
        return batch

    def _end(self, row: Sequence[int]) -> int:
        """Return the place of the last media token of a row."""
        places = [place for place, token in enumerate(row) if token in self.media_ids]
        if not places or places[-1] + 1 == len(row):
            got = "none" if not places else "nothing behind them"
            raise ValueError(f"lskd: got a row with media tokens {sorted(self.media_ids)}: {got}. Raise `cutoff_len`.")
        return places[-1]


def _host_row(feature: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the host's collator takes it."""
    ids = list(feature["input_ids"])
    media = {kind: feature.get(kind) for kind in MEDIA_FIELDS}
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": list(feature["labels"]), **media}


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
