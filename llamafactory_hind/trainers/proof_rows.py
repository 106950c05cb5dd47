"""Rows of a dataset on which a faster way is proved: every kind of row, the most media, the longest, the shortest."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..formats.media.fields import MEDIA_FIELDS


BATCH = 1000  # [ours] rows whose lengths are read at a time


def representative_rows(dataset: Any, lengths: Sequence[str]) -> list[int]:
    """Return the places of rows that would show a mistake, in rising order; the same on every process.

    Of each kind of row (which media it has): the one with the most media of each sort, and the longest. Of all: the shortest.

    Args:
        dataset: processed rows.
        lengths: columns of token ids; a row is as long as all of them together.
    """
    sizes = row_sizes(dataset, [*MEDIA_FIELDS, *lengths])
    media = list(zip(*(sizes[name] for name in MEDIA_FIELDS), strict=True))
    tokens = [sum(row) for row in zip(*(sizes[name] for name in lengths), strict=True)]
    if not tokens:
        return []
    places = {min(range(len(tokens)), key=lambda place: tokens[place])}
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for place, counts in enumerate(media):
        kinds.setdefault(tuple(map(bool, counts)), []).append(place)
    for kind, own in kinds.items():
        places.add(max(own, key=lambda place: tokens[place]))
        for sort, there in enumerate(kind):
            if there:
                places.add(max(own, key=lambda place, sort=sort: (media[place][sort], tokens[place])))
    return sorted(places)


def row_sizes(dataset: Any, columns: Sequence[str]) -> dict[str, list[int]]:
    """Return how many entries the lists in each column have, without reading them where the dataset is a table."""
    if not hasattr(dataset, "with_format"):
        rows = [dataset[place] for place in range(len(dataset))]
        return {name: [len(row.get(name) or []) for row in rows] for name in columns}
    there = [name for name in columns if name in dataset.column_names]
    sizes: dict[str, list[int]] = {name: [] if name in there else [0] * len(dataset) for name in columns}
    for table in dataset.select_columns(there).with_format("arrow").iter(BATCH):
        for name in there:
            sizes[name] += _sizes_of(table[name])
    return sizes


def _sizes_of(column: pa.ChunkedArray) -> list[int]:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [int(size or 0) for size in pc.list_value_length(column).to_pylist()]
    return [len(entry or []) for entry in column.to_pylist()]
