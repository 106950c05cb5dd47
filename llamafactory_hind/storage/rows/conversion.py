"""Rows of any files as one table on disk, with types that hold every value; nothing of it is guessed from the first rows."""

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from .collecting import paused_collection
from .files import Paths, list_files
from .kinds import Node
from .passes import Converted, Pass
from .problems import OnBad, ProblemList, RowsError, damaged
from .reading import read_batches


def to_arrow(
    paths: Paths,
    destination: str | os.PathLike[str],
    *,
    strict: Collection[str] | None = None,
    on_bad: OnBad | None = None,
) -> Converted:
    """Write rows as one Arrow stream file that `datasets.Dataset.from_file` maps into memory.

    The files are read once, and a second time only where a column has values that no type holds.

    Args:
        paths: files, or folders of parts, in order.
        destination: the file to write.
        strict: columns whose values must have one type; others that have not are kept as JSON text, marked in the schema
            (`decode`). None: all columns.
        on_bad: takes each bad row, which is left out; None: they are reported at once, and nothing is written.

    Raises:
        RowsError: with every bad row (after 1,000 at once), or a file that is damaged.
    """
    with paused_collection():
        return _convert(list_files(paths), os.fspath(destination), strict, on_bad)


def infer_schema(paths: Paths, *, strict: Collection[str] | None = None, on_bad: OnBad | None = None) -> Converted:
    """Return what `to_arrow` would, without writing: the check of a dataset."""
    with paused_collection():
        return _convert(list_files(paths), None, strict, on_bad)


def decode(row: Mapping[str, Any], json_columns: Collection[str]) -> dict[str, Any]:
    """Return a row of the table with the values of its JSON columns."""
    return {
        name: json.loads(value) if name in json_columns and value is not None else value for name, value in row.items()
    }


def _convert(
    files: list[str], destination: str | None, strict: Collection[str] | None, on_bad: OnBad | None
) -> Converted:
    problems = ProblemList()
    first = Pass(files, on_bad or problems)
    converted = first.run(destination)
    if not first.mixed:
        problems.finish()
        return _of(converted)
    as_json = {name for name in first.mixed if strict is not None and name not in strict}
    checked = _look_closely(files, first.mixed - as_json)
    odd = [problem for node in checked.values() for problem in node.problems()]
    if on_bad is None and (odd or problems.kept):
        raise RowsError([*problems.kept, *odd])
    second = Pass(files, on_bad or problems, as_json=as_json, checked=checked, is_second=True)
    converted = second.run(destination)
    if second.mixed:
        got = f"other values than in the first pass in {', '.join(sorted(second.mixed))}"
        raise damaged(files[0], got, "files that do not change", "try again when they are complete")
    return _of(converted)


def _of(converted: Converted | None) -> Converted:
    assert converted is not None  # nothing was mixed
    return converted


def _look_closely(files: list[str], columns: Collection[str]) -> dict[str, Node]:
    """Return what is in these columns, over all rows."""
    nodes = {name: Node() for name in columns}
    for batch in read_batches(files, lambda problem: None):
        for index, row in enumerate(batch.rows):
            for name, node in nodes.items():
                if row.get(name) is not None:
                    node.add(row[name], batch.place(index), name)
    return nodes
