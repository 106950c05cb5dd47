"""A batch of rows as columns of a table, with a type found from the values alone."""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from .batches import Batch, TableBatch
from .kinds import Node
from .problems import Place, UnreadableRow
from .types import is_record


# What Arrow raises on values of differing kinds. It is asked for types only through Python values, never through JSON text.
TEXTS = pa.list_(pa.string())
MIXED = (pa.ArrowException, TypeError, ValueError, OverflowError)


class MixedColumn(Exception):
    """No type holds the values of a column."""


def to_columns(batch: Batch) -> dict[str, Any]:
    """Return column -> its values, a list or an array; a missing field is None."""
    if isinstance(batch, TableBatch):
        return dict(zip(batch.table.schema.names, batch.table.columns, strict=True))
    rows = batch.rows
    if len(set(map(tuple, rows))) == 1:  # the usual case, several times as fast: the same keys in the same order
        return dict(zip(rows[0], zip(*map(dict.values, rows), strict=True), strict=True))
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


def to_array(values: Any, usual: pa.DataType | None = None) -> pa.Array:
    """Return the values as an array.

    Args:
        values: a list or an array.
        usual: the type of the rows before, which saves a look at all values where it is text.

    Raises:
        MixedColumn: they have no common type.
    """
    array = values if isinstance(values, pa.Array) else _to_array_of(values, usual)
    if not is_record(array.type):
        raise MixedColumn
    return array


def _to_array_of(values: Sequence[Any], usual: pa.DataType | None) -> pa.Array:
    # Given a type, Arrow takes nothing but texts and null as texts. Of numbers it would round, of objects drop keys, and make
    # a list of a text's letters: hence the look at the lists, and no shorter way for the others.
    if usual == pa.string() or (usual == TEXTS and {*map(type, values)} <= {list, type(None)}):
        try:
            return pa.array(values, type=usual)
        except MIXED:
            pass
    return _infer(values)


def _infer(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except MIXED:  # mixed kinds, or whole numbers of more than 63 bits
        node = Node()
        for value in values:
            node.add(value, Place(""), "")
        if node.is_odd():
            raise MixedColumn from None
        return pa.array(values, type=node.type())


def to_json_texts(values: Any) -> pa.Array:
    """Return each value as JSON text; null stays null.

    Raises:
        UnreadableRow: bytes are among them.
    """
    listed: Iterable[Any] = values.to_pylist() if isinstance(values, pa.Array) else values
    try:
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in listed]
    except TypeError:
        remedy = "give the column one type, or drop it"
        raise UnreadableRow(None, "bytes among values of other kinds", "one kind", remedy) from None
    return pa.array(texts, type=pa.string())
