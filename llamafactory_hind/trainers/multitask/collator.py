"""Batches of rows with several tasks: a row a text as the host's `sft` makes them, or one packed row that holds the prompt once.

A packed row is `prompt, text 1, text 2, ...`, where the prompt is what all texts of a row begin with: the media, the question, and
whatever comes before the instruction that tells the tasks apart.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask
from llamafactory.extras.constants import IGNORE_INDEX

from ...engines.local.packing import lay_out
from ...engines.local.prefixes import common_length
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.processors.media_tokens import media_token_ids
from ..row_guard import GuardedCollator, stand_ins


ANSWER, REASON = 0, 1  # tasks: every task but `answer` is reasoning
TASK_KEYS = ("labels", "tasks", "owners", "counts", "segments", "sources")  # of a batch, not for the model


class Text(NamedTuple):
    """One text of a row: ids, labels of the same length, and its task."""

    ids: list[int]
    labels: list[int]
    task: int


class TextRow(NamedTuple):
    """A row of a batch: number of the feature, length of the prompt, and the texts that share it."""

    owner: int
    prompt: int
    texts: list[Text]


@dataclass
class MultitaskCollator(GuardedCollator, SFTDataCollatorWith4DAttentionMask):
    """Collate the rows of `formats.processors.multitask.MultitaskProcessor`.

    Beside what the model takes, a batch of N features in R rows holds `labels` (R, T), `tasks` (R, T) (`ANSWER`, `REASON`, -1 where
    nothing is scored), `owners` (R,) the number of each row's feature, `counts` (2,) scored tokens a task, and of packed rows
    `segments` and `sources` (R, T).
    """

    packed: bool = False

    @cached_property
    def media_ids(self) -> set[int]:
        """Ids that stand for media."""
        return media_token_ids(self.template, self.tokenizer)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of these very rows in the form `packed` asks for; where no row has two texts there is nothing to share."""
        packed = self.packed and any(len(feature["lengths"]) > 1 for feature in features)
        return self.packed_batch(features) if packed else self.plain_batch(features)

    def plain_batch(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One row a text, in the order of the features and of their texts, as the host's `sft` batches them."""
        rows = [TextRow(owner, 0, [text]) for owner, feature in enumerate(features) for text in texts_of(feature)]
        batch = self._collated(rows, features)
        kinds = torch.tensor([row.texts[0].task for row in rows])[:, None]  # (R, 1)
        return self._with_tasks(batch, rows, kinds.expand_as(batch["labels"]), stand_ins(features))

    def packed_batch(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One row a feature, where all its texts begin with its media; else a row a text."""
        rows = [
            row
            for owner, feature in enumerate(features)
            for row in packed_rows(owner, texts_of(feature), self.media_ids)
        ]
        batch = self._collated(rows, features)
        parts = [
            [row.prompt, *(len(text.ids) - row.prompt for text in row.texts)] for row in rows
        ]  # tokens of the prompt, and of each text behind it
        layout = lay_out(batch, parts, left=self.tokenizer.padding_side == "left")
        batch.pop("rope_deltas", None)  # would be wrong for a packed row; positions are explicit
        batch |= {"position_ids": layout.positions, "segments": layout.segments, "sources": layout.sources}
        longest = max(len(row.texts) for row in rows)
        kinds = torch.tensor(
            [[-1, *(text.task for text in row.texts)] + [-1] * (longest - len(row.texts)) for row in rows]
        )
        return self._with_tasks(batch, rows, kinds.gather(1, layout.segments.clamp(min=0)), stand_ins(features))

    def _collated(self, rows: Sequence[TextRow], features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        host_rows = [_host_row(row, features[row.owner]) for row in rows]
        return dict(SFTDataCollatorWith4DAttentionMask.__call__(self, host_rows))

    @staticmethod
    def _with_tasks(
        batch: dict[str, Any], rows: Sequence[TextRow], kinds: torch.Tensor, unlearnt: Sequence[int]
    ) -> dict[str, Any]:
        """Add which task each scored token belongs to; `kinds` is (R, T), nothing is scored of the features `unlearnt`."""
        batch["labels"][[row.owner in unlearnt for row in rows]] = IGNORE_INDEX
        tasks = torch.where(batch["labels"] == IGNORE_INDEX, -1, kinds)
        tasks[:, 0] = -1  # nothing predicts a first token
        batch["tasks"] = tasks
        batch["owners"] = torch.tensor([row.owner for row in rows])
        batch["counts"] = torch.stack([(tasks == task).sum() for task in (ANSWER, REASON)])
        return batch


def texts_of(feature: Mapping[str, Any]) -> list[Text]:
    """Return the texts of a processed row."""
    texts, start = [], 0
    for name, length in zip(feature["tasks"], feature["lengths"], strict=True):
        ids, labels = (list(feature[key][start : start + length]) for key in ("input_ids", "labels"))
        texts.append(Text(ids, labels, ANSWER if name == "answer" else REASON))
        start += length
    return texts


def packed_rows(owner: int, texts: Sequence[Text], media_ids: Collection[int]) -> list[TextRow]:
    """Return one row for all texts of a feature, or a row each where media come behind what they have in common."""
    shared = min(common_length([text.ids for text in texts]), *(unlearnt(text) for text in texts))
    if any(token in media_ids for text in texts for token in text.ids[shared:]):
        return [TextRow(owner, unlearnt(text), [text]) for text in texts]
    return [TextRow(owner, shared, list(texts))]


def unlearnt(text: Text) -> int:
    """Return how many tokens at the beginning are not learnt, all but the last at most."""
    learnt = (place for place, label in enumerate(text.labels) if label != IGNORE_INDEX)
    return min(next(learnt, len(text.ids)), len(text.ids) - 1)


def _host_row(row: TextRow, feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the host's collator takes it: the prompt, then what each text has behind it."""
    ids, labels = (
        [
            *getattr(row.texts[0], name)[: row.prompt],
            *(token for text in row.texts for token in getattr(text, name)[row.prompt :]),
        ]
        for name in ("ids", "labels")
    )
    media = {name: feature.get(name) for name in MEDIA_FIELDS}
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels, **media}
