"""`to_arrow` and `infer_schema`: types over all rows, what no type holds, and what `datasets` makes of the file."""

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llamafactory_hind.storage.rows import (
    Place,
    RowProblem,
    RowsError,
    decode,
    files,
    infer_schema,
    iterate,
    json_columns_of,
    to_arrow,
)


@pytest.fixture(autouse=True)
def few_bytes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)  # a batch is a row or two, so that batches meet everywhere


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)
        return table


def convert(tmp_path: Path, rows: list, **options) -> tuple[pa.Schema, list[dict]]:
    converted = to_arrow(write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "out" / "rows.arrow", **options)
    table = read_table(tmp_path / "out" / "rows.arrow")
    assert table.schema == converted.schema and len(converted.numbers) == len(table)
    assert os.listdir(tmp_path / "out") == ["rows.arrow"]
    return table.schema, table.to_pylist()


def without_null(value):
    """A missing field is the same as one that is null."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_null(item)) not in (None, {})}
    return [without_null(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "2019-05-01", "007", "NA", "1e5"], pa.string()),
        ([1, None, -(2**63), 2**63 - 1], pa.int64()),
        ([1, None, 2**64 - 1], pa.uint64()),
        ([1, 2.5, None, 2**53], pa.float64()),
        ([2.5, 1], pa.float64()),
        ([True, None], pa.bool_()),
        ([None, None], pa.null()),
        ([[], None, [None], ["x"], [None, "y"]], pa.list_(pa.string())),
        ([[], [[]], [[1], [2.5]]], pa.list_(pa.list_(pa.float64()))),
        ([{}, {"a": None}, {"b": 1}, {"a": "x", "b": 2.5}], pa.struct([("a", pa.string()), ("b", pa.float64())])),
        (
            [[{"a": 1}], [None, {"b": [None]}], [{"b": ["x"]}]],
            pa.list_(pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
        ),
    ],
)
@pytest.mark.parametrize("block", [16, 1 << 18])
def test_types_hold_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list, kind: pa.DataType, block: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    for order in (values, values[::-1]):
        schema, rows = convert(tmp_path, [{"id": str(index), "x": value} for index, value in enumerate(order)])
        assert without_null([row["x"] for row in rows]) == without_null(order)
        if order is values:
            assert schema.field("x").type == kind


def test_a_key_that_comes_late_or_goes_is_null(tmp_path: Path) -> None:
    rows = [{"a": "x" * 50, "b": 1}] * 20 + [{"c": [{"d": 1}]}, {"c": [{"e": 2.5}], "a": "y"}]
    _, read = convert(tmp_path, rows)
    assert read[0] == {"a": "x" * 50, "b": 1, "c": None}
    assert read[-2] == {"a": None, "b": None, "c": [{"d": 1, "e": None}]}


def test_twin_of_rows_drawn_by_chance(tmp_path: Path) -> None:
    """Rows of one shape with anything missing anywhere come back as they were, but for null."""
    chance = random.Random(0)

    def shape(depth: int):
        kinds = ["text", "whole", "fraction", "truth", *(["list", "object"] if depth < 3 else [])]
        kind = chance.choice(kinds)
        inner = {"list": lambda: shape(depth + 1), "object": lambda: {key: shape(depth + 1) for key in "abc"}}
        return kind, inner[kind]() if kind in inner else None

    def draw(kind: str, inner):
        if chance.random() < 0.3:
            return None
        if kind == "list":
            return [draw(*inner) for _ in range(chance.randrange(4))]
        if kind == "object":
            return {key: draw(*inner[key]) for key in chance.sample("abc", chance.randrange(4))}
        values = {
            "text": ["", "1", "é", "\x00"],
            "whole": [0, -5, 2**60],
            "fraction": [0.5, -0.0, 3],
            "truth": [True, False],
        }
        return chance.choice(values[kind])

    for _ in range(40):
        shapes = {key: shape(0) for key in "abc"}
        rows = [{"id": i} | {key: draw(*shapes[key]) for key in chance.sample("abc", 2)} for i in range(30)]
        _, read = convert(tmp_path, rows)
        assert without_null(read) == without_null(rows)


def test_a_type_that_differs_within_a_list_is_named_by_path(tmp_path: Path) -> None:
    """The case `nested_types`: -1, "-1.5" and -2.5 at `external[].logprob`."""
    rows = [{"external": [{"logprob": value}]} for value in (-1, "-1.5", -2.5)]
    rows[1]["external"].insert(0, {"logprob": None})
    file = write_lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(RowsError) as error:
        to_arrow(file, tmp_path / "out.arrow")
    (problem,) = error.value.problems
    assert (problem.place, problem.field) == (Place(str(file), 2, 2), "external[1].logprob")
    assert problem.got == "'-1.5', text"
    assert problem.expected == f"a number, as in 2 places (the first: {file}, row 1, `external[0].logprob`: -1)"
    assert os.listdir(tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        (["a", "b", 7], {3: "7, a number"}),
        (["a", ["b"], "c"], {2: "['b'], a list"}),
        ([{"k": 1}, {"k": 2}, {"k": {"j": 1}}], {3: "{'j': 1}, an object"}),
        ([1, True, 2], {2: "True, true or false"}),
        ([1, 2**64], {2: "18446744073709551616, a whole number of more than 64 bits"}),
        ([-1, 2**63], {2: "9223372036854775808, a whole number of 64 bits without sign"}),
        ([0.5, 2**53 + 1], {2: "9007199254740993, a whole number that a double rounds"}),
        ([2**53 + 1, 0.5], {1: "9007199254740993, a whole number that a double rounds"}),
        ([2**53 + 1] + [1] * 30 + [0.5], {1: "9007199254740993, a whole number that a double rounds"}),
    ],
)
@pytest.mark.parametrize("block", [16, 1 << 18])
def test_what_no_type_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list, odd: dict, block: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    rows = [{"id": str(index), "x": value} for index, value in enumerate(values)]
    file = write_lines(tmp_path / "rows.jsonl", rows)
    for call in (lambda: infer_schema(file), lambda: to_arrow(file, tmp_path / "out.arrow")):
        with pytest.raises(RowsError) as error:
            call()
        assert {problem.place.row: problem.got for problem in error.value.problems} == odd
    # Skipped, they lose no other row, and every row keeps its number.
    skipped: list[RowProblem] = []
    converted = to_arrow(file, tmp_path / "out.arrow", on_bad=skipped.append)
    assert {problem.place.row for problem in skipped} == set(odd)
    kept = [number for number in range(1, len(rows) + 1) if number not in odd]
    assert converted.numbers.tolist() == kept
    assert read_table(tmp_path / "out.arrow").to_pylist() == [rows[number - 1] for number in kept]
    # Kept as JSON text, nothing is lost at all.
    converted = to_arrow(file, tmp_path / "out.arrow", strict={"id"})
    table = read_table(tmp_path / "out.arrow")
    assert converted.json_columns == json_columns_of(table.schema) == ("x",)
    assert [decode(row, converted.json_columns) for row in table.to_pylist()] == rows


def test_counts_of_many_odd_values(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [{"x": "a"}] * 60 + [{"x": 1}] * 50)
    with pytest.raises(RowsError) as error:
        infer_schema(file)
    assert [problem.place.row for problem in error.value.problems] == list(range(61, 81))
    assert "1, a number (50 such in all)" in str(error.value) and "text, as in 60 places" in str(error.value)


def test_syntax_and_types_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"x": "a"}\n{"x": }\n{"x": 1}\n{"x": "b"}\n')
    with pytest.raises(RowsError) as error:
        to_arrow(file, tmp_path / "out.arrow")
    assert [problem.place.row for problem in error.value.problems] == [2, 3]
    skipped: list[RowProblem] = []
    converted = to_arrow(file, tmp_path / "out.arrow", on_bad=skipped.append)
    assert [problem.place.row for problem in skipped] == [2, 3] and converted.numbers.tolist() == [1, 4]


def test_deep_and_ever_new_keys(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(60):
        deep = [deep]
    for rows in ([{"id": 1, "x": deep}], [{"id": i, "x": {f"k{i}": 1}} for i in range(1200)]):
        file = write_lines(tmp_path / "rows.jsonl", rows)
        with pytest.raises(RowsError, match=r"levels|different keys"):
            infer_schema(file)
        converted = to_arrow(file, tmp_path / "out.arrow", strict=())
        assert [decode(row, converted.json_columns) for row in read_table(tmp_path / "out.arrow").to_pylist()] == rows


def test_files_whose_fields_differ(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    write_lines(parts / "1.jsonl", [{"a": 1}])
    pq.write_table(pa.table({"b": pa.array([2], pa.int8()), "a": [0.5]}), parts / "2.parquet")
    (parts / "3.csv").write_text("c\n007\n")
    (parts / "4.json").write_text('\ufeff[{"a": null}]', encoding="utf-8")
    converted = to_arrow(parts, tmp_path / "out.arrow")
    assert read_table(tmp_path / "out.arrow").to_pylist() == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 0.5, "b": 2, "c": None},
        {"a": None, "b": None, "c": "007"},
        {"a": None, "b": None, "c": None},
    ]
    assert converted.place(2) == Place(str(parts / "3.csv"), 1)


def test_a_table_that_differs_from_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3], "b": [b"x", b"y", b"z"]}), tmp_path / "1.parquet")
    write_lines(tmp_path / "2.jsonl", [{"a": "x", "b": None}])
    paths = [tmp_path / "1.parquet", tmp_path / "2.jsonl"]
    skipped: list[RowProblem] = []
    converted = to_arrow(paths, tmp_path / "out.arrow", on_bad=skipped.append)
    assert [str(problem.place) for problem in skipped] == [f"{paths[1]}, row 1"]
    assert read_table(tmp_path / "out.arrow").column("b").to_pylist() == [b"x", b"y", b"z"]
    assert converted.numbers.tolist() == [1, 2, 3]


def test_bytes_are_no_json(tmp_path: Path) -> None:
    pq.write_table(pa.table({"b": [b"x"]}), tmp_path / "1.parquet")
    write_lines(tmp_path / "2.jsonl", [{"b": "text"}])
    with pytest.raises(RowsError, match="field `b`: got bytes"):
        to_arrow([tmp_path / "1.parquet", tmp_path / "2.jsonl"], tmp_path / "out.arrow", strict=())


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    assert len(to_arrow(tmp_path / "a.json", tmp_path / "out.arrow").numbers) == 0
    assert len(read_table(tmp_path / "out.arrow")) == 0


def test_failing_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.arrow").write_text("old")
    (tmp_path / "a.json").write_text('[{"a": 1}')
    with pytest.raises(RowsError):
        to_arrow(tmp_path / "a.json", tmp_path / "out.arrow")
    assert (tmp_path / "out.arrow").read_text() == "old" and len(os.listdir(tmp_path)) == 2


def test_nan_stays(tmp_path: Path) -> None:
    _, (row, other) = convert(tmp_path, [{"a": math.nan}, {"a": 1}])
    assert math.isnan(row["a"]) and other == {"a": 1.0}


def test_datasets_map_the_file_and_infer_nothing(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"id": "2019-05-01", "images": [None, "x"], "external": [{"text": "007", "logprob": None}], "n": 1}]
    rows += [{"id": "b", "images": None, "external": [], "n": 2.5}] * 3
    to_arrow(write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "rows.arrow")
    dataset = datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))
    assert dataset.to_list() == rows and dataset.cache_files


SCRIPT = """
import sys
from llamafactory_hind.storage.rows import iterate, to_arrow
rows = [row.values for row in iterate(sys.argv[1])]
to_arrow(sys.argv[1], sys.argv[2])
import pyarrow as pa
print(rows == pa.ipc.open_stream(sys.argv[2]).read_all().to_pylist(), rows)
"""


@pytest.mark.parametrize(
    "text", ['{"videos": [null, "x"]}\n', '[{"videos": [null, {"a": 1}, null]}]', '{"v": [[null], [null, 1]]}\n']
)
def test_null_in_front_does_not_end_the_interpreter(tmp_path: Path, text: str) -> None:
    """pyarrow's own JSON reader (18 to 26.0.1) makes an array here that is longer than its values."""
    (tmp_path / "a.json").write_text(text)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "a.json", tmp_path / "out.arrow"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0 and run.stdout.startswith("True"), run.stderr


def test_a_list_of_null_among_texts_is_named(tmp_path: Path) -> None:
    rows = [{"question": "a"}, {"question": [None]}, {"question": "b"}]
    with pytest.raises(RowsError, match=r"row 2, field `question`: got \[None\], a list, expected text"):
        to_arrow(write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "out.arrow")


def test_the_cases_of_the_field_log(tmp_path: Path) -> None:
    """Dates in JSON lines, a byte order mark, a field that only a late row has."""
    dates = [{"id": f"r{i}", "images": ["rgb.png"], "prompt": "When?", "answer": f"2019-05-0{i}"} for i in range(1, 5)]
    assert convert(tmp_path, dates)[1] == dates
    (tmp_path / "bom.json").write_text("\ufeff" + json.dumps(dates), encoding="utf-8")
    assert [row.values for row in iterate(tmp_path / "bom.json")] == dates
    late = [dates[0] | {"note": "x" * 20_000}] * 600 + [dates[0] | {"hint": "Look at it."}]
    _, read = convert(tmp_path, late)
    assert read[0]["hint"] is None and read[-1]["hint"] == "Look at it." and read[-1]["note"] is None
