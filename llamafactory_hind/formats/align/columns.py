"""The columns of aligned examples: the host's, and beside them `_columns`, `_source`, `_side_file` and, joined, `_tasks`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Features, Value

from ..media.fields import MEDIA_FIELDS
from ..texts.control_tokens import NO_CONTROLS, ControlTokens
from .tasks import TASKS, join_tasks


if TYPE_CHECKING:
    from ..converter import RowConverter


ALIGNED_COLUMNS = (
    *("_prompt", "_response", "_system", "_tools", *(f"_{kind}" for kind in MEDIA_FIELDS)),
    *("_columns", "_source", "_side_file", *MEDIA_FIELDS),
)


def to_rows(batch: Mapping[str, list[Any]], json_columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of a batch of columns; those of `json_columns` hold JSON text, which is read."""
    columns = {name: batch[name] for name in batch}
    for name in json_columns:
        columns[name] = [None if text is None else json.loads(text) for text in columns[name]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def to_aligned(
    converter: "RowConverter",
    rows: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
    *,
    side_file: str | None,
    joined: bool = False,
    escaped: ControlTokens = NO_CONTROLS,
) -> dict[str, list[Any]]:
    """Return the aligned columns of good rows; a row of several tasks becomes several examples, or one that has them all.

    Args:
        converter: of their format.
        rows: as stored.
        sources: where each of them stands.
        side_file: where a processor lists a row that does not fit; None unless bad rows are skipped.
        joined: one example a row, with all its tasks in the column `_tasks`.
        escaped: signs of the tokenizer that are written as plain text.
    """
    marks = {"_side_file": side_file, **dict.fromkeys(MEDIA_FIELDS)}
    examples = []
    for row, source in zip(rows, sources, strict=True):
        made = converter.examples(row)
        if escaped.tokens:
            made = map(escaped.escape_example, made)
        examples += [{**example, "_source": source, **marks} for example in (join_tasks(made) if joined else made)]
    return {name: [example[name] for example in examples] for name in aligned_columns(joined)}


def aligned_columns(joined: bool) -> tuple[str, ...]:
    """Return the names of the aligned columns."""
    return (*ALIGNED_COLUMNS, TASKS) if joined else ALIGNED_COLUMNS


@dataclass(frozen=True)
class Places:
    """Where rows stand.

    Attributes:
        files: that hold them.
        file_indices: of each row's file, (rows,).
        numbers: of each row in its file, from 1, (rows,): lines that could not be read count.
    """

    files: tuple[str, ...]
    file_indices: np.ndarray
    numbers: np.ndarray

    def source(self, index: int) -> str:
        """Return file and number of a row as its column `_source` says them."""
        return f"{self.files[self.file_indices[index]]}, row {self.numbers[index]}"


@dataclass
class RowConversion:
    """The function that `map` calls: good rows in, aligned examples out.

    Its attributes make up the fingerprint of the cached result. `media_fingerprint` is among them because a picture that
    was replaced may have another number of tokens.
    """

    converter: "RowConverter"
    places: Places
    side_file: str | None
    media_fingerprint: str
    json_columns: tuple[str, ...] = ()
    joined: bool = False
    escaped: ControlTokens = NO_CONTROLS

    def __call__(self, batch: Mapping[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        """Convert a batch of rows that stand at `indices` of the dataset."""
        sources = list(map(self.places.source, indices))
        rows = to_rows(batch, self.json_columns)
        return to_aligned(
            self.converter, rows, sources, side_file=self.side_file, joined=self.joined, escaped=self.escaped
        )


def aligned_features(stored: Mapping[str, Any], converter: "RowConverter", *, joined: bool = False) -> Features:
    """Return the types of the aligned columns, with media as the dataset stores them.

    They are fixed because `datasets` infers types from the first 1,000 rows: text-only ones in front would make the column
    `null` and the first image an error. The empty columns `images`, `videos` and `audios` do the same for the processors'
    output columns of that name, whose types `datasets` takes from the input.
    """
    text = Value("string")
    messages = [{"role": text, "content": text}]
    items = {kind: _media_item(stored.get(converter.options.column(kind))) for kind in MEDIA_FIELDS}
    media = {kind: [converter.media_type(kind, item)] for kind, item in items.items()}
    types = {"_prompt": messages, "_response": messages}
    types |= {f"_{kind}": feature for kind, feature in media.items()} | media
    return Features({name: types.get(name, text) for name in aligned_columns(joined)})


def _media_item(stored: Any) -> Any:
    item = stored
    if isinstance(stored, list):
        item = stored[0]
    elif hasattr(stored, "feature"):  # a list type of `datasets`
        item = stored.feature
    if item is None or item == Value("null"):
        item = Value("string")
    return item
