"""Every kind of file of rows that the page promises is read in training, not by our reader alone: the host knows fewer of them."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.formats.align.tables import KIND_OF_ROWS
from llamafactory_hind.storage.rows import RowsError
from shared.formats import FormatSetup


ROWS = [{"id": f"r{number}", "prompt": f"What is {number}?", "answer": str(number)} for number in range(3)]
PROMISED = ("json", "jsonl", "ndjson", "csv", "tsv", "json.gz", "jsonl.gz", "ndjson.gz", "csv.gz", "tsv.gz")
USER, GPT = {"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes"}


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    return FormatSetup(tmp_path)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as the endings of a name say."""
    if ".csv" in path.name or ".tsv" in path.name:
        held = io.StringIO()
        table = csv.DictWriter(held, list(rows[0]), delimiter="\t" if ".tsv" in path.name else ",")
        table.writeheader()
        table.writerows(rows)
        text = held.getvalue()
    else:
        text = json.dumps(rows) if ".json" in path.suffixes else "\n".join(map(json.dumps, rows))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def prompts(rows: Any) -> list[str]:
    return [row["_prompt"][-1]["content"] for row in rows]


@pytest.mark.parametrize("ending", PROMISED)
def test_every_kind_that_the_page_promises(setup: FormatSetup, ending: str) -> None:
    write(setup.folder / f"rows.{ending}", ROWS)
    read = setup.align(file_name=f"rows.{ending}", formatting="rollout")
    assert prompts(read) == [row["prompt"] for row in ROWS]


def test_rows_of_the_hosts_formats_in_our_stages(setup: FormatSetup) -> None:
    write(setup.folder / "rows.ndjson.gz", [{"conversations": [USER, GPT]}] * 2)
    token = KIND_OF_ROWS.set("prompts")
    try:
        info = {"formatting": "sharegpt", "columns": {"messages": "conversations"}}
        assert prompts(setup.align(file_name="rows.ndjson.gz", **info)) == ["Is it?"] * 2
    finally:
        KIND_OF_ROWS.reset(token)


def test_a_folder_of_parts_of_several_kinds_beside_what_is_no_part(setup: FormatSetup) -> None:
    """Names that begin with `.` or `_`, and folders, are left out; names are sorted as texts, so `part-10` comes before `part-2`."""
    folder = setup.folder / "parts"
    (folder / "more").mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.csv.crc").touch()
    write(folder / "part-10.csv.gz", ROWS[:1])
    write(folder / "part-2.jsonl", ROWS[2:])
    write(folder / "part-11.tsv", ROWS[1:2])
    assert prompts(setup.align(file_name="parts", formatting="rollout")) == [row["prompt"] for row in ROWS]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rows.xlsx", r"the ending of `rows.xlsx`"),
        ("empty", r"a folder without files"),
        ("odd", r"the ending of `a.docx`"),
    ],
)
def test_what_holds_no_rows_is_named(setup: FormatSetup, name: str, said: str) -> None:
    (setup.folder / "rows.xlsx").write_bytes(b"PK")
    (setup.folder / "empty").mkdir()
    (setup.folder / "odd").mkdir()
    (setup.folder / "odd" / "a.docx").write_bytes(b"PK")
    with pytest.raises(RowsError, match=said) as error:
        setup.align(file_name=name, formatting="rollout")
    assert name in str(error.value)
