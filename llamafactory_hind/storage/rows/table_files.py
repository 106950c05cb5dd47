"""Parquet and Arrow files: types as stored, but for those that rows of JSON cannot have.

Whole numbers become int64 (uint64 where stored so), fractions double; dates and times become ISO 8601 text and decimals the text
of their digits, so that they read as they were written; maps become lists of `{key, value}`.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import files
from .batches import TableBatch
from .files import PARQUET, kind_of, reading, refuse_long
from .problems import RowsError, damaged
from .types import rebuild_list, rebuild_struct


ROWS_AT_ONCE = 1000
FILE_MAGIC = b"ARROW1"


def read_table(file: str) -> Iterator[TableBatch]:
    """Yield the rows of a Parquet or Arrow file.

    Raises:
        RowsError: the file is damaged, a column has a type that rows do not have, or a row is too long.
    """
    number = 1
    batches = _read_parquet(file) if kind_of(file) == PARQUET else _read_arrow(file)
    with reading(file):
        try:
            for batch in batches:
                batch.validate(full=True)  # a damaged file is reported here, not by the end of the interpreter
                _refuse_long_rows(batch, file, number)
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    part = to_plain_batch(batch.slice(start, ROWS_AT_ONCE), file)
                    yield TableBatch(file, part, number)
                    number += part.num_rows
        except RowsError:
            raise
        except (pa.ArrowException, ValueError, OverflowError, SystemError) as error:
            raise damaged(file, f"{type(error).__name__}: {error}", "a whole file", "write or load it again") from None


def _refuse_long_rows(batch: pa.RecordBatch, file: str, number: int) -> None:
    """Stop at a row that is too long to be one; a small Parquet file may unpack to one of any length.

    Args:
        batch: rows of the file.
        file: its path.
        number: of the first of them, from 1.

    Raises:
        RowsError: it is longer than the rows of other kinds of files may be.
    """
    if batch.nbytes > files.LONGEST_ROW:
        for index in range(batch.num_rows):
            refuse_long(file, batch.slice(index, 1).nbytes, f"row {number + index}")


def _read_parquet(file: str) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file, memory_map=False) as opened:
        yield from opened.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False)


def _read_arrow(file: str) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(file) as opened:
        is_file = opened.read(len(FILE_MAGIC)) == FILE_MAGIC
        opened.seek(0)
        if is_file:
            with pa.ipc.open_file(opened) as reader:
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)
        else:
            with pa.ipc.open_stream(opened) as stream:
                yield from stream


def to_plain_batch(batch: pa.RecordBatch, file: str) -> pa.RecordBatch:
    """Return the batch in the types that all readers share.

    Raises:
        RowsError: a column has another type, or two columns have one name.
    """
    names = batch.schema.names
    if not names:
        raise damaged(file, "no columns", "rows with fields", "write it again")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise damaged(file, f"the column `{twice}` more than once", "each column once", "drop one of them")
    arrays = []
    for name, column in zip(names, batch.columns, strict=True):
        try:
            arrays.append(to_plain(column))
        except (pa.ArrowException, TypeError) as error:
            got = f"the column `{name}` of type {column.type} ({error})"
            raise damaged(file, got, "numbers, texts, dates, bytes, lists, objects", "drop or convert it") from None
    return pa.RecordBatch.from_arrays(arrays, names=names)


def to_plain(array: pa.Array) -> pa.Array:
    """Return an array in the types that all readers share.

    Raises:
        TypeError: its type has no counterpart.
        pa.ArrowException: a value has none.
    """
    kind = array.type
    is_ = pa.types
    if is_.is_dictionary(kind):
        return to_plain(array.dictionary_decode())
    if isinstance(kind, pa.BaseExtensionType):
        return to_plain(array.storage)
    if is_.is_map(kind):
        pairs = pa.StructArray.from_arrays([array.keys, array.items], names=["key", "value"])
        return to_plain(
            pa.Array.from_buffers(pa.list_(pairs.type), len(array), array.buffers()[:2], -1, array.offset, [pairs])
        )
    if is_.is_list(kind):
        return rebuild_list(array, to_plain(array.values))
    if is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return to_plain(array.cast(pa.list_(kind.value_type)))
    if is_.is_struct(kind):
        if len({field.name for field in kind}) < kind.num_fields:
            raise TypeError("an object with one key twice")
        children = [to_plain(array.field(index)) for index in range(kind.num_fields)]
        fields = [(field.name, child.type) for field, child in zip(kind, children, strict=True)]
        return rebuild_struct(array, children, pa.struct(fields))
    if is_.is_timestamp(kind) or is_.is_date(kind) or is_.is_time(kind):
        return _iso_text(array)
    target = _plain_type(kind)
    return array if kind.equals(target) else array.cast(target)


def _plain_type(kind: Any) -> pa.DataType:
    is_ = pa.types
    if is_.is_uint64(kind):
        return pa.uint64()
    if is_.is_integer(kind):
        return pa.int64()
    if is_.is_floating(kind):
        return pa.float64()
    if is_.is_decimal(kind) or is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or is_.is_binary_view(kind):
        return pa.binary()
    if is_.is_boolean(kind) or is_.is_null(kind):
        return kind
    raise TypeError("no such values in rows")


def _iso_text(array: pa.Array) -> pa.Array:
    """Return dates and times as ISO 8601: `T` between them, no zeros behind the last digit of a fraction."""
    text = pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)
    text = pc.replace_substring_regex(text, r"(\.\d*?)0+(Z|[+-]\d\d:?\d\d)?$", r"\1\2")
    return pc.replace_substring_regex(text, r"\.(Z|[+-]\d\d:?\d\d)?$", r"\1")
