"""A selection as a file: what it holds, and that it never takes the place of somebody else's."""

import csv
import json
from pathlib import Path

import pytest

from llamafactory_hind.board.completions.export import external_rows
from llamafactory_hind.board.completions.page import NO_MATCH, Browser, View
from llamafactory_hind.board.completions.query import Query
from llamafactory_hind.formats.rollout.rows import RolloutOptions, find_problems
from shared.completion_runs import entry, gated_run, write_step


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    gated_run(tmp_path / "run", tmp_path / "media")
    return Browser([tmp_path])


def test_lines_hold_everything_that_is_picked(browser: Browser, tmp_path: Path) -> None:
    told = browser.export(View(query=Query(source="hinted", step=3)), "hinted", "jsonl")
    path = tmp_path / "run" / "exports" / "hinted.jsonl"
    assert told == f"2 rows written to {path}."
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["row_id"], row["reward"]) for row in rows] == [(3, "row-0", None), (3, "row-1", None)]
    assert rows[0]["extra"] == {"hint": "look right"}
    assert rows[0]["boxes"][0]["box"] == [20, 10, 60, 50]


def test_a_table_runs_no_formula(tmp_path: Path) -> None:
    write_step(tmp_path / "run", 1, [entry(1, 0, 0, completion='=cmd|" /C calc"!A0', reward=-1.0)])
    Browser([tmp_path]).export(View(), "a", "csv")
    with open(tmp_path / "run" / "exports" / "a.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["completion"].startswith("'=cmd")
    assert row["reward"] == "-1.0"
    assert row["reward/accuracy"] == "0.0"


def test_external_rows_are_rollout_rows(browser: Browser, tmp_path: Path) -> None:
    told = browser.export(View(query=Query(lowest=1.0)), "right", "external")
    assert "2 rows written" in told
    assert "formatting: rollout" in told
    rows = [json.loads(line) for line in (tmp_path / "run" / "exports" / "right.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["row-0", "row-1"]
    assert rows[0]["images"] == ["images/p0.png"]
    assert rows[0]["prompt"] == "<image>question 0"
    assert rows[0]["answer"] == "blue"
    assert rows[0]["external"][0] == {"source": "browsed", "text": "step 3 group 0 sample 0", "logprob": None}
    assert [list(find_problems(row, RolloutOptions())) for row in rows] == [[], []]


def test_rows_of_other_formats_get_their_turns_from_the_conversation() -> None:
    """Rows of the host's formats have no column with their question, and a text is taken once for each source."""
    told = json.dumps({"system": "s", "tools": "", "turns": [{"role": "user", "content": "why?"}]})
    same = {"columns": json.dumps({"answer": "b"}), "conversation": told}
    records = [entry(1, 0, sample, **same, completion=text) for sample, text in enumerate(["x", "x", " ", "y"])]
    (row,) = external_rows(records)
    assert row["messages"] == [{"role": "user", "content": "why?"}]
    assert row["system"] == "s"
    assert [action["text"] for action in row["external"]] == ["x", "y"]


@pytest.mark.parametrize("name", ["", "../out", "a/b", "/etc/passwd", ".hidden", "a\0b", "a b"])
def test_a_name_is_no_path(browser: Browser, name: str) -> None:
    assert "without a folder" in browser.export(View(), name, "jsonl")


def test_a_file_of_somebody_else_stays(browser: Browser, tmp_path: Path) -> None:
    """One that is ours is replaced; one that was changed since, or was there before, is not."""
    path = tmp_path / "run" / "exports" / "a.jsonl"
    for _ in range(2):
        assert "written to" in browser.export(View(), "a", "jsonl")
    path.write_text("mine\n")
    assert "did not write what is there" in browser.export(View(), "a.jsonl", "jsonl")
    assert path.read_text() == "mine\n"


def test_nothing_to_export(browser: Browser, tmp_path: Path) -> None:
    assert browser.export(View(query=Query(source="nobody")), "a", "jsonl") == NO_MATCH
    assert not (tmp_path / "run" / "exports").exists()
    assert "kind: got 'xls'" in browser.export(View(), "a", "xls")
    assert "not in the list" in browser.export(View(run="gone"), "a", "csv")
