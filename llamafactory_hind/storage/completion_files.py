"""The files of a run's completions: one a step and process while it trains, joined at checkpoints; one a set and evaluation.

`<step>-<process>.parquet`, `part-<first>-<last>.parquet`, `_eval-<step>-<process>[-<set>].parquet`, and `_run.json`, which says what
a reader must know of the run. The last two begin with `_`, so that `pandas.read_parquet` and `pyarrow`, given the folder, read the
completions of training and nothing else.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .atomic import replaced, write_json


FOLDER = "completions"  # below the output folder of a run
RUN = "_run.json"
RUN_NAMES = (RUN, "run.json")
IN_A_GROUP = 4096  # [ours] rows of a row group: what a look at one page reads
REPEATED = (
    "row_id",
    "split",
    "source",
    "finish_reason",
    "prompt",
    "conversation",
    "media",
    "columns",
    "boxes",
    "hints",
)
_NAME = re.compile(
    r"(?:(?P<step>\d{8,})-(?P<process>\d{5,})|part-(?P<first>\d{8,})-(?P<last>\d{8,})"
    r"|_eval-(?P<at>\d{8,})-(?P<by>\d{5,})(?:-(?P<set>.+))?)\.parquet"
)


@dataclass(frozen=True)
class CompletionFile:
    """One file.

    Attributes:
        path: of the file.
        kind: `step`, `part` or `eval`.
        first: its first step; `last` is the last one.
    """

    path: Path
    kind: str
    first: int
    last: int


def step_file(folder: Path, step: int, process: int) -> Path:
    """Return the file of one step of one process."""
    return folder / f"{step:08d}-{process:05d}.parquet"


def part_file(folder: Path, first: int, last: int) -> Path:
    """Return the file of joined steps."""
    return folder / f"part-{first:08d}-{last:08d}.parquet"


def evaluation_file(folder: Path, step: int, process: int, name: str = "") -> Path:
    """Return the file of an evaluation; `name` is that of its set, where there are several."""
    safe = re.sub(r"[^\w.-]+", "_", name)
    return folder / f"_eval-{step:08d}-{process:05d}{'-' + safe if safe else ''}.parquet"


def all_files(folder: Path) -> list[CompletionFile]:
    """Return every file of completions, in the order of their steps; half-written ones have other names."""
    found = []
    for path in folder.glob("*.parquet"):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        kind = "step" if match["step"] else "part" if match["first"] else "eval"
        first = int(match["step"] or match["first"] or match["at"])
        found.append(CompletionFile(path, kind, first, int(match["last"] or first)))
    return sorted(found, key=lambda file: (file.first, file.last, file.path.name))


def current_files(folder: Path) -> list[CompletionFile]:
    """Return the files that count: without joined files that a larger one holds, as a kill while joining may leave them."""
    found = all_files(folder)
    parts = [file for file in found if file.kind == "part"]
    held = {part.path for part in parts for other in parts if part is not other and _holds(other, part)}
    return [file for file in found if file.path not in held]


def _holds(larger: CompletionFile, smaller: CompletionFile) -> bool:
    return larger.first <= smaller.first and larger.last >= smaller.last


def read_run_record(folder: Path) -> dict[str, Any] | None:
    """Return what `write_run_record` wrote; None for a run of an earlier version, and for a file that cannot be read."""
    for name in RUN_NAMES:
        with suppress(OSError, ValueError):
            record = json.loads((folder / name).read_text(encoding="utf-8"))
            if isinstance(record, dict):
                return record
    return None


def write_run_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what a reader of completions must know of the run.

    Raises:
        WriteRefused: the disk refused.
    """
    write_json(folder / RUN, {"format": 1, **record})


def join_steps(folder: Path, last: int) -> Path | None:
    """Join the files of steps up to `last` into one, and remove them.

    A run that was taken up again at an earlier step writes steps again: these replace the same steps of joined files, which are
    then joined anew. A kill at any moment leaves every completion in a file that counts.

    Args:
        folder: of the completions.
        last: no later step is joined: a run that resumes from the checkpoint of this step writes those again.

    Returns:
        The joined file, None where there was nothing to join.

    Raises:
        WriteRefused: the disk refused; everything is as it was.
    """
    files = all_files(folder)
    steps = [file for file in files if file.kind == "step" and file.first <= last]
    if not steps:
        return None
    first, end = steps[0].first, steps[-1].last
    parts = [file for file in files if file.kind == "part"]
    joined: list[CompletionFile] = []
    while met := [part for part in parts if part not in joined and part.first <= end and part.last >= first]:
        joined += met
        first, end = min(first, *(part.first for part in met)), max(end, *(part.last for part in met))
    target = part_file(folder, first, end)
    tables = [*_rest(joined, {file.first for file in steps}), *steps]
    _write_joined(target, sorted(tables, key=lambda entry: entry.first))
    for file in [*steps, *joined]:
        if file.path != target:
            file.path.unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class _Steps(CompletionFile):
    """Some steps of a joined file, or of several that overlap."""

    without: frozenset[int] = frozenset()


def _rest(parts: list[CompletionFile], again: set[int]) -> Iterator[_Steps]:
    """Yield what is still right of joined files, a step at a time: of two that have a step, the larger file is newer."""
    taken = set(again)
    for part in sorted(parts, key=lambda part: part.first - part.last):
        there = set(pq.read_table(part.path, columns=["step"])["step"].unique().to_pylist())
        for step in sorted(there - taken):
            yield _Steps(part.path, "part", step, step)
        taken |= there


def _write_joined(target: Path, files: list[CompletionFile]) -> None:
    schema = pa.unify_schemas(
        [pq.read_schema(path) for path in dict.fromkeys(file.path for file in files)], promote_options="permissive"
    )
    schema = ordered(schema)
    repeated = [name for name in REPEATED if name in schema.names]
    with (
        replaced(target) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=repeated) as writer,
    ):
        for table in _groups(_tables(files, schema)):
            writer.write_table(table, row_group_size=IN_A_GROUP)


def _tables(files: Iterable[CompletionFile], schema: pa.Schema) -> Iterator[pa.Table]:
    for file in files:
        filters = [("step", "==", file.first)] if isinstance(file, _Steps) else None
        yield fitted(pq.read_table(file.path, filters=filters, partitioning=None), schema)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables, `IN_A_GROUP` at a time."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        while rows >= IN_A_GROUP:
            whole = pa.concat_tables(waiting)
            yield whole[:IN_A_GROUP]
            waiting, rows = [whole[IN_A_GROUP:]], rows - IN_A_GROUP
    if rows:
        yield pa.concat_tables(waiting)


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema, null where it lacks one."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


SMALL = (
    "step",
    "process",
    "group",
    "row_id",
    "split",
    "sample",
    "source",
    "kept",
    "tokens",
    "finish_reason",
    "reward",
)
LARGE = ("epoch", "completion", "extra", "boxes", "hints", "media", "prompt", "conversation", "columns")
TYPES = {
    **dict.fromkeys(("step", "process", "group", "sample", "tokens"), pa.int64()),
    **dict.fromkeys(("row_id", "split", "source", "finish_reason", *LARGE[1:]), pa.string()),
    **dict.fromkeys(("reward", "advantage", "epoch"), pa.float64()),
    "kept": pa.bool_(),
}


def type_of(name: str) -> pa.DataType:
    """Return the type of a column: what is not named is a number, such as `reward/accuracy` and `stream/gate`."""
    return TYPES.get(name, pa.float64())


def order_of(names: Iterable[str]) -> list[str]:
    """Return columns with those that an index reads first, then texts."""
    there = list(dict.fromkeys(names))
    numbers = [name for name in there if name not in (*SMALL, *LARGE)]
    rewards = [name for name in numbers if name.startswith("reward/")]
    others = [name for name in numbers if name not in rewards]
    return [name for name in (*SMALL, *rewards, *others, *LARGE) if name in there]


def ordered(schema: pa.Schema) -> pa.Schema:
    """Return a schema in our order; a column without any value yet gets its type."""
    fields = {field.name: field for field in schema}
    return pa.schema(
        pa.field(name, type_of(name) if pa.types.is_null(fields[name].type) else fields[name].type)
        for name in order_of(schema.names)
    )


def table_of(entries: list[dict[str, Any]]) -> pa.Table:
    """Return records of completions as a table."""
    names = order_of(name for entry in entries for name in entry)
    return pa.Table.from_pylist(entries, schema=pa.schema([(name, type_of(name)) for name in names]))
