"""Rows that go bad after the check: found one by one, named, replaced by others; the choice depends on the rows alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.trainers.row_guard import RowGuard


ROWS = [{"place": f"data/rows.json, row {number}", "images": [f"{number}.png"], "n": number} for number in range(1, 9)]


def guard(tmp_path: Path, *bad: int, rows: Any = ROWS, skips: bool = True) -> RowGuard:
    def collate(features: list[Any]) -> None:
        for feature in features:
            if feature["n"] in bad:
                raise StopIteration(f"no {feature['n']}")

    return RowGuard(collate, rows, skips=skips, side_file=str(tmp_path / "bad_rows" / "in_training.jsonl"))


def test_bad_rows_are_replaced_and_listed_once(tmp_path: Path) -> None:
    guarded = guard(tmp_path, 2, 5)
    first = guarded.replace(ROWS[:4], StopIteration())
    assert [row["n"] for row in first][::2] == [1, 3]
    assert first[1]["n"] not in (2, 5)
    assert guarded.good(ROWS[:4]) == first
    assert guard(tmp_path, 2, 5).good(ROWS[:4]) == first  # another process, a resumed run
    (line,) = map(json.loads, (tmp_path / "bad_rows" / "in_training.jsonl").read_text().splitlines())
    assert (line["file"], line["row"], line["field"]) == ("data/rows.json", 2, "images")
    assert "StopIteration: no 2" in line["reason"]
    assert len(guarded) == 1


def test_without_skipping_the_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRowsError, match=r"data/rows\.json, row 2, field `images`: got StopIteration: no 2"):
        guard(tmp_path, 2, skips=False).replace(ROWS[:4], StopIteration())
    assert not (tmp_path / "bad_rows").exists()


def test_an_error_that_no_row_has_alone_is_raised_again(tmp_path: Path) -> None:
    error = RuntimeError("of the batch")
    with pytest.raises(RuntimeError) as caught:
        guard(tmp_path).replace(ROWS[:4], error)
    assert caught.value is error


@pytest.mark.parametrize("rows", [ROWS[:2], iter(ROWS)])
def test_where_no_good_row_is_found_all_bad_ones_are_named(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(BadRowsError, match="no good row was found"):
        guard(tmp_path, 1, 2, rows=rows).good(ROWS[:2])


def test_a_lack_of_memory_says_nothing_about_a_row(tmp_path: Path) -> None:
    def collate(features: list[Any]) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        RowGuard(collate, ROWS, skips=True, side_file=str(tmp_path / "x")).good(ROWS[:1])
