"""`iterate`: every kind of file, twins of `json.loads` and `csv`, and what errors name."""

import csv
import datetime
import decimal
import gzip
import json
import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llamafactory_hind.storage.rows import Place, RowProblem, RowsError, files, iterate


U2028 = "\u2028"


def values(path: Path) -> list[dict]:
    return [row.values for row in iterate(path)]


def problems_of(path: Path) -> tuple[list[dict], list[RowProblem]]:
    problems: list[RowProblem] = []
    return [row.values for row in iterate(path, on_bad=problems.append)], problems


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def draw(chance: random.Random, depth: int = 0):
    """A value of JSON with all that a reader may get wrong."""
    texts = [
        "",
        "2019-05-01",
        "007",
        "NA",
        "1e5",
        f"a{U2028}b",
        '"',
        "\\",
        '\\"',
        "\\\\",
        "{[,]}",
        "é🎈",
        "\n",
        "\x00",
        "null",
    ]
    numbers = [0, -1, 1.5, 1e5, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 0.1, 1e-7, -0.0, 0.012345678901234567]
    leaves = [*texts, *numbers, None, True, False, "1234567890123456789012"]
    if depth > 3 or chance.random() < 0.6:
        return chance.choice(leaves)
    if chance.random() < 0.5:
        return [draw(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {
        chance.choice(["a", "b", 'k"', "c\\", "é", ""]): draw(chance, depth + 1) for _ in range(chance.randrange(4))
    }


@pytest.mark.parametrize("block", [7, 64, 1 << 18])
@pytest.mark.parametrize("form", ["lines", "list", "indented", "compact", "windows", "escaped"])
def test_twin_of_json_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, block: int) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", block)  # blocks end anywhere in a row
    chance = random.Random(block)
    rows = [{"id": index, "x": draw(chance), "y": draw(chance)} for index in range(150)]
    texts = {
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "list": json.dumps(rows, ensure_ascii=False),
        "indented": json.dumps(rows, indent=1) + "\n",
        "compact": json.dumps(rows, separators=(",", ":"), ensure_ascii=False),
        "windows": "\r\n".join(json.dumps(row) for row in rows) + "\r\n\r\n",
        "escaped": "\n \n".join(json.dumps(row) for row in rows) + "\n",
    }
    read = values(write(tmp_path / "rows.json", texts[form]))
    assert json.dumps(read) == json.dumps(rows)  # -0.0, 1 and 1.0 and true are told apart


def test_lists_count_rows_and_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", '[\n {"a": 1},\n\n {"a": 2}, {"a":\n3}]')
    assert [(row.number, row.line) for row in iterate(file)] == [(1, 2), (2, 4), (3, 4)]


def test_lines_count_rows_and_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"a": 1}\n\n \r\n{"a": 2}\n')
    rows = list(iterate(file))
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 4)]
    assert str(rows[1].place) == f"{file}, row 2 (line 4)"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize("text", ['[{"a": "x"}, {"a": null}]', '{"a": "x"}\n{"a": null}\n'])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_content_says_which_form_it_is(tmp_path: Path, name: str, text: str, mark: str) -> None:
    content = (mark + text).encode()
    file = write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert values(file) == [{"a": "x"}, {"a": None}]


@pytest.mark.parametrize("text", ["", " \n", "[]", "[ ]\n", "\ufeff[]"])
def test_no_rows(tmp_path: Path, text: str) -> None:
    assert values(write(tmp_path / "a.json", text)) == []


def test_nan_as_python_writes_it(tmp_path: Path) -> None:
    (row,) = values(write(tmp_path / "a.jsonl", '{"a": [NaN, Infinity, -Infinity]}'))
    assert math.isnan(row["a"][0]) and row["a"][1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ('{"a": 1,}', ["line 2, column", "JSON"]),
        ('{"a": 1} {"b": 2}', ["Extra data: line 2, column 10"]),
        ("[1, 2]", ["[1, 2]", "an object"]),
        ("7", ["got 7", "an object"]),
        ("{}", ["got {}", "an object"]),
        ('{"a": 1, "b": 2, "a": 3}', ["field `a`", "the key 'a' more than once"]),
        ('{"x": [{"k": 1}, {"k": 1, "k": "\\""}]}', ["field `x[1].k`", "'k' more than once"]),
        ('{"a": "\\ud800"}', ["field `a`", "surrogate"]),
        ('{"a": {"\\udc00": 1}}', ["field `a`", "surrogate"]),
        ('{"a": 1e999}', ["1e999"]),
        ('{"a": ' + "9" * 5000 + "}", ["5000 digits"]),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", ["levels"]),
        ('{"a": "\x01"}', ["control character"]),
        ("\ufeff{}", ["line 2, column 1"]),
    ],
)
@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_bad_row_is_named_and_loses_no_other(tmp_path: Path, bad: str, told: list[str], form: str) -> None:
    rows = ['{"a": 1}', bad, '{"a": 3}']
    text = "\n".join(rows) if form == "lines" else "[" + ",\n".join(rows) + "]"
    file = write(tmp_path / "a.json", text)
    read, (problem,) = problems_of(file)
    assert read == [{"a": 1}, {"a": 3}]
    assert problem.place == Place(str(file), 2, 2)
    with pytest.raises(RowsError) as error:
        list(iterate(file))
    assert str(error.value).startswith(f"1 problem in the rows:\n  - {file}, row 2")
    for words in told:
        assert words in str(error.value)


def test_a_text_without_end(tmp_path: Path) -> None:
    read, (problem,) = problems_of(write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "x\n{"a": 3}'))
    assert read == [{"a": 1}, {"a": 3}] and "Unterminated string starting at: line 2, column 7" in str(problem)
    # In a list the text ends where the next one begins: where rows end cannot be told any more.
    with pytest.raises(RowsError, match=r"the end of the file within the list, at line 1, column 11, in row 2"):
        values(write(tmp_path / "a.json", '[{"a": 1},\n{"a": "x},\n{"a": 3}]'))


def test_bytes_that_are_no_utf8_have_an_offset(tmp_path: Path) -> None:
    # 3 bytes of mark, 9 of line 1 with its end, 7 of `{"a": "`: the bad byte stands at 19.
    file = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n{"a": "\xe9"}\n{"a": 2}\n')
    read, (problem,) = problems_of(file)
    assert read == [{"a": 1}, {"a": 2}]
    assert "byte 0xe9 at byte 19 of the file" in str(problem) and problem.place.row == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"a": 1}, {"a": 2}', "end of the file within the list"),
        ('[{"a": 1}', "end of the file within the list"),
        ("[", "end of the file within the list"),
        ('[{"a": 1}] x', "more text after the list"),
        ('[{"a": 1}}', "a list that a `}` closes"),
        ('\ufeff[{"a": 1}]\n[{"a": 2}]', "more text after the list"),
    ],
)
@pytest.mark.parametrize("block", [3, 1 << 18])
def test_a_damaged_list_cannot_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str, block: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    with pytest.raises(RowsError, match=told):
        problems_of(write(tmp_path / "a.json", text))


@pytest.mark.parametrize("text", ['[{"a": 1},]', '[,{"a": 1}]', '[{"a": 1},,{"a": 1}]'])
def test_a_missing_row_is_a_bad_one(tmp_path: Path, text: str) -> None:
    _, problems = problems_of(write(tmp_path / "a.json", text))
    assert len(problems) == 1 and "Expecting value" in str(problems[0])


def test_other_encodings_and_broken_gzip_are_named(tmp_path: Path) -> None:
    cases = {
        "a.json": '[{"a": 1}]'.encode("utf-16"),
        "b.json.gz": gzip.compress(b'{"a": 1}\n' * 99)[:-9],
        "c.csv.gz": b"a\n1",
    }
    for (name, content), told in zip(cases.items(), ["UTF-16", "EOFError", "BadGzipFile"], strict=True):
        with pytest.raises(RowsError, match=told):
            values(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_a_row_without_end_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What a few bytes of gzip may unpack to; blanks are no better."""
    monkeypatch.setattr(files, "LONGEST_ROW", 1 << 20)
    for filler in ("x", " "):
        starts = {"a.csv": 'id,text\n1,"', "a.json": '[{"id": "1"}, {"text": "'}
        content = (starts.get(name, '{"id": "1"}\n{"text": "') + filler * (3 << 20)).encode()
        write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
        with pytest.raises(RowsError, match=r"a row of more than 1 MiB|field larger than field limit"):
            list(iterate(tmp_path / name))


@pytest.mark.parametrize("form", ["a.jsonl", "a.json"])
def test_a_key_that_no_table_can_have_is_a_bad_row(tmp_path: Path, form: str) -> None:
    """A NUL in one key, at any depth, would make the whole table unreadable."""
    rows = ['{"id": "a"}', '{"id": "b", "\\u0000": 1}', '{"id": "c", "x": [{"k\\u0000": 1}]}', '{"id": "d\\u0000"}']
    text = "\n".join(rows) if form == "a.jsonl" else "[" + ", ".join(rows) + "]"
    found, problems = problems_of(write(tmp_path / form, text))
    assert found == [{"id": "a"}, {"id": "d\0"}]
    assert [(problem.place.row, problem.field) for problem in problems] == [(2, r"\x00"), (3, r"x[0].k\x00")]


def test_paths_are_checked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in [
        ("no.json", "no such file"),
        ("empty", "without files"),
        (write(tmp_path / "a.txt", "x").name, ".jsonl"),
    ]:
        with pytest.raises(RowsError, match=told):
            values(tmp_path / path)


def test_many_problems_are_capped(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "x\n" * 5000)
    with pytest.raises(RowsError) as error:
        list(iterate(file))
    assert len(error.value.problems) == 1000 and "… and 980 more." in str(error.value)
    assert len(problems_of(file)[1]) == 5000


def test_csv_cells_stay_text(tmp_path: Path) -> None:
    text = f'\ufeffid,answer,note\r\n007,NA,1e5\r\n2019-05-01,,"a\r\n""b"",{U2028}c"\r\n\r\ntrue,nan,"{"x" * 200_000}"\r\n'
    rows = list(iterate(write(tmp_path / "a.csv", text)))
    assert [row.values for row in rows] == [
        {"id": "007", "answer": "NA", "note": "1e5"},
        {"id": "2019-05-01", "answer": None, "note": f'a\r\n"b",{U2028}c'},
        {"id": "true", "answer": "nan", "note": "x" * 200_000},
    ]
    assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 3), (3, 6)]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_twin_of_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 11)
    chance = random.Random(1)
    cells = ["", "a", "007", "NA", 'q"q', "a,b", "a\tb", "line\nbreak", "é", U2028, " margin "]
    rows = [["first", "second"], *([chance.choice(cells), chance.choice(cells)] for _ in range(400))]
    file = tmp_path / f"a.{ending}"
    with open(file, "w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, delimiter="\t" if ending == "tsv" else ",").writerows(rows)
    with open(file, encoding="utf-8", newline="") as opened:
        twin = list(csv.DictReader(opened, delimiter="\t" if ending == "tsv" else ","))
    assert values(file) == [{name: cell or None for name, cell in row.items()} for row in twin]


@pytest.mark.parametrize(
    ("line", "told"),
    [(b"1", "1 cells"), (b"1,2,3", "3 cells"), (b'"1"x,2', "expected after"), (b"\xe9,1", "byte 0xe9 at byte 8")],
)
def test_a_bad_line_of_csv_is_named_and_loses_no_other(tmp_path: Path, line: bytes, told: str) -> None:
    read, (problem,) = problems_of(write(tmp_path / "a.csv", b"a,b\n1,2\n" + line + b"\n3,4\n"))
    assert read == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert told in str(problem) and (problem.place.row, problem.place.line) == (2, 3)


def test_an_open_quote_says_where_it_began(tmp_path: Path) -> None:
    read, (problem,) = problems_of(write(tmp_path / "a.csv", 'a,b\n1,2\n"3,4\n5,6\n'))
    assert read == [{"a": "1", "b": "2"}] and "lines 3 to 4" in str(problem)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a,a\n1,2", "'a' more than once"), ("a,\n1,2", "column 2 without a name"), ('"a', "first line")],
)
def test_a_bad_first_line_of_csv(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RowsError, match=told):
        problems_of(write(tmp_path / "a.csv", text))


def stored_table() -> pa.Table:
    day = datetime.datetime(2019, 5, 1, 12, 30, 0, 250000)
    return pa.table(
        {
            "text": pa.array(["007", None], pa.large_string()),
            "small": pa.array([1, None], pa.int8()),
            "large": pa.array([2**64 - 1, 0], pa.uint64()),
            "date": pa.array([day.date(), None], pa.date32()),
            "time": pa.array([day, None], pa.timestamp("ns")),
            "zone": pa.array([day, None], pa.timestamp("ms", tz="UTC")),
            "hour": pa.array([datetime.time(1, 2, 3), None], pa.time64("us")),
            "money": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2)),
            "bytes": pa.array([b"\x00\xff", None], pa.large_binary()),
            "kind": pa.array(["x", None]).dictionary_encode(),
            "pairs": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
            "list": pa.array([[{"d": day.date()}, None], None], pa.large_list(pa.struct([("d", pa.date64())]))),
            "two": pa.array([[1, 2], None], pa.list_(pa.int16(), 2)),
        }
    )


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_tables_keep_what_was_stored(tmp_path: Path, name: str) -> None:
    table = stored_table()
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        new = pa.ipc.new_file if name.startswith("file") else pa.ipc.new_stream
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    first, second = values(tmp_path / name)
    assert first == {
        **{"text": "007", "small": 1, "large": 2**64 - 1, "date": "2019-05-01", "time": "2019-05-01T12:30:00.25"},
        **{"zone": "2019-05-01T12:30:00.25Z", "hour": "01:02:03", "money": "1.50", "bytes": b"\x00\xff", "kind": "x"},
        **{"pairs": [{"key": "a", "value": 1}], "list": [{"d": "2019-05-01"}, None], "two": [1, 2]},
    }
    assert second == {name: 0 if name == "large" else None for name in table.schema.names}


def test_tables_are_numbered_through_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(2500))}), tmp_path / "a.parquet", row_group_size=700)
    assert [(row.number, row.values["a"]) for row in iterate(tmp_path / "a.parquet")] == [
        (i + 1, i) for i in range(2500)
    ]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_row_of_a_table_may_not_be_longer_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Many rows that are longer together are fine: each of these has 40 bytes of text and some of places."""
    monkeypatch.setattr(files, "LONGEST_ROW", 1000)
    table = pa.table({"text": ["x" * 40] * 100, "more": [None] * 99 + [["y" * 600] * 2]})
    path = tmp_path / name

    def write_part(rows: int) -> None:
        part = table.slice(0, rows)
        if name.endswith("parquet"):
            pq.write_table(part, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, part.schema) as writer:
                writer.write_table(part)

    write_part(99)
    assert len(values(path)) == 99
    write_part(100)
    with pytest.raises(RowsError, match=r"a row of more than 0 MiB, row 100"):
        values(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"ARROW1", b"x" * 100, b"PAR1" + b"\x00" * 50 + b"PAR1"])
def test_a_damaged_table_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(RowsError, match=name):
        values(write(tmp_path / name, content))


def test_types_that_rows_cannot_have_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"wait": pa.array([1], pa.duration("s"))}), tmp_path / "a.parquet")
    with pytest.raises(RowsError, match="the column `wait` of type duration"):
        values(tmp_path / "a.parquet")


def test_folders_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", '{"a": 2}\n')
    write(tmp_path / "a.json", '[{"a": 1}]')
    write(tmp_path / "c.csv", "a,b\n3,x\n")
    write(tmp_path / ".hidden", "x")
    write(tmp_path / "_SUCCESS", "")
    (tmp_path / "sub").mkdir()
    rows = list(iterate(tmp_path))
    assert [row.values for row in rows] == [{"a": 1}, {"a": 2}, {"a": "3", "b": "x"}]
    assert [Path(row.file).name for row in rows] == ["a.json", "b.jsonl", "c.csv"]
    assert [row.number for row in rows] == [1, 1, 1]
    assert len(list(iterate([tmp_path / "a.json", tmp_path]))) == 4
