"""Rows that go bad after the check, in the host's stages on rows that we have read: named, and under `skip_bad_rows` replaced.

`GuardedProcessor` marks processed rows with where they come from; the host's collators are given the rows without these marks. The
host counts a row that stands in for a bad one as any other, but where a batch has another row, its labels are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from llamafactory.extras.constants import IGNORE_INDEX

from ..formats.processors.origin import MARKS, PLACE, STANDS_IN, WRITTEN
from .row_guard import FILE, NOT_OF_A_ROW, RowGuard, stand_ins


HostCollate = Callable[[list[dict[str, Any]]], Any]


class HostRun:
    """The run of a host's stage in this process.

    Args:
        sets: of processed rows.
        skips: `skip_bad_rows` of the run.
        side_file: lists replaced rows.
    """

    now: "ClassVar[HostRun | None]" = None

    def __init__(self, sets: Sequence[Any], *, skips: bool, side_file: str) -> None:
        """Nothing is tried yet."""
        self.sets, self.skips, self.side_file = sets, skips, side_file
        self._guard: RowGuard | None = None

    @classmethod
    def begin(cls, module: Mapping[str, Any], data_args: Any, training_args: Any) -> None:
        """Remember the rows that the host's `get_dataset` has made."""
        parts = [part for part in module.values() if part is not None]
        sets = [rows for part in parts for rows in (part.values() if isinstance(part, dict) else [part])]
        skips = bool(getattr(data_args, "skip_bad_rows", False))
        cls.now = cls(sets, skips=skips, side_file=f"{training_args.output_dir or '.'}/{FILE}")

    def guard(self, collate: HostCollate) -> RowGuard:
        """Return the guard of the run, which tries rows with `collate`."""
        if self._guard is None:
            self._guard = RowGuard(collate, *self.sets, skips=self.skips, side_file=self.side_file)
        self._guard.collate = collate
        return self._guard


def collate_guarded(host_collate: HostCollate, features: Sequence[Mapping[str, Any]]) -> Any:
    """Return the batch of marked rows, or of others in the place of bad ones.

    Args:
        host_collate: the host's collator, which takes media out of the rows that it is given.
        features: processed rows.

    Raises:
        BadRowsError: a row cannot be read, and bad rows of its data set are not skipped.
    """

    def collate(rows: Sequence[Mapping[str, Any]]) -> Any:
        return host_collate([_unmarked(row) for row in rows])

    try:
        return collate(features)
    except NOT_OF_A_ROW:
        raise
    except Exception as error:
        if HostRun.now is None:
            raise
        good = HostRun.now.guard(collate).replace(features, error)
    return collate(_without_labels(good))


def _unmarked(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in MARKS}


def _without_labels(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Take the labels of stand-ins away, unless a mean over the labels of the batch would be one over nothing."""
    others = len(rows) > len(stand_ins(rows))
    return [
        {**row, "labels": [IGNORE_INDEX] * len(row["labels"])}
        if row.get(STANDS_IN) and "labels" in row and (others or row.get(WRITTEN))
        else dict(row)
        for row in rows
    ]


def forget_stand_ins(dataset: Any, found: Any) -> Any:
    """Return what the host's `predict` found, with nothing written for rows that could not be read: each line is of its own row.

    Args:
        dataset: processed rows, in the order of the predictions.
        found: with `predictions` (N, S) and `label_ids` (N, L); a stand-in has no label.
    """
    labels = found.label_ids
    if labels is None or PLACE not in (getattr(dataset, "column_names", None) or ()):
        return found
    own = dataset["labels"]
    lost = [
        place
        for place in np.flatnonzero((labels == IGNORE_INDEX).all(1))[: len(own)]
        if any(label != IGNORE_INDEX for label in own[int(place)])
    ]
    if not lost:
        return found
    width = max(labels.shape[1], *(len(own[int(place)]) for place in lost))
    labels = np.pad(labels, ((0, 0), (0, width - labels.shape[1])), constant_values=IGNORE_INDEX)
    predictions = found.predictions.copy()
    for place in lost:
        predictions[place] = IGNORE_INDEX
        labels[place, : len(own[int(place)])] = own[int(place)]
    return found._replace(predictions=predictions, label_ids=labels)
