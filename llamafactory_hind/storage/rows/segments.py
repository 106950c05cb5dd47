"""A table on disk whose schema may still widen: a segment for each schema, and one file of the widest in the end."""

import os
import shutil
import tempfile
from types import TracebackType

import pyarrow as pa

from .types import JSON_MARK, fit


class SegmentWriter:
    """Writes record batches as an Arrow stream, as `datasets` keeps its own files; the file appears whole or not at all.

    Args:
        path: the file to write; its folder is made.
    """

    def __init__(self, path: str) -> None:
        """Make a folder for segments beside the file."""
        self._path = path
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix=".rows-", dir=os.path.dirname(os.path.abspath(path)))
        self._segments: list[str] = []
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> "SegmentWriter":
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the segments away."""
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; another schema than the last one's begins a segment."""
        if self._writer is None or batch.schema != self._schema:
            self._begin(batch.schema)
        self._writer.write_batch(batch)  # type: ignore[union-attr]

    def _begin(self, schema: pa.Schema) -> None:
        if self._writer is not None:
            self._writer.close()
        self._segments.append(os.path.join(self._folder, f"{len(self._segments)}.arrow"))
        self._schema = schema
        self._writer = pa.ipc.new_stream(self._segments[-1], schema)

    def finish(self, schema: pa.Schema) -> None:
        """Bring all segments into one schema that holds their values, and put the file in its place."""
        if len(self._segments) != 1 or self._schema != schema:
            segments = self._segments[:]
            self._begin(schema)
            for segment in segments:
                with pa.OSFile(segment) as opened, pa.ipc.open_stream(opened) as stream:
                    for batch in stream:
                        self._writer.write_batch(widen(batch, schema))  # type: ignore[union-attr]
                os.remove(segment)
        self._writer.close()  # type: ignore[union-attr]
        os.replace(self._segments[-1], self._path)


def widen(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of at least one column with all columns of `schema` in its types; a column that it lacks is null.

    Raises:
        pa.ArrowInvalid: a whole number is not exact in its column.
    """
    names = set(batch.schema.names)
    arrays = [
        fit(batch.column(field.name), field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def make_schema(types: dict[str, pa.DataType], json_columns: set[str]) -> pa.Schema:
    """Return the schema of columns, those that hold JSON text marked."""
    marks = {name: JSON_MARK if name in json_columns else None for name in types}
    return pa.schema([pa.field(name, kind, metadata=marks[name]) for name, kind in types.items()])


def json_columns_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of a table that hold JSON text."""
    return tuple(column.name for column in schema if (column.metadata or {}).items() >= JSON_MARK.items())
