"""Rows that go bad after the check: found one by one, named, replaced by others; the choice depends on the rows alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.trainers.row_guard import RowGuard, stand_ins, weights_of


ROWS = [{"place": f"data/rows.json, row {number}", "images": [f"{number}.png"], "n": number} for number in range(1, 9)]


def guard(tmp_path: Path, *bad: int, rows: Any = ROWS, skips: bool = True, more: Any = ()) -> RowGuard:
    def collate(features: list[Any]) -> None:
        for feature in features:
            if feature["n"] in bad:
                raise StopIteration(f"no {feature['n']}")

    return RowGuard(collate, rows, *more, skips=skips, side_file=str(tmp_path / "bad_rows" / "in_training.jsonl"))


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


def of(name: str, *numbers: int) -> list[dict[str, Any]]:
    """Rows of a data set whose own entry says `skip_bad_rows: true`."""
    return [{**ROWS[0], "place": f"{name}.json, row {n}", "n": n, "side_file": f"out/{name}.jsonl"} for n in numbers]


def test_a_data_set_that_skips_is_obeyed_where_the_run_does_not(tmp_path: Path) -> None:
    mixed = [*ROWS[:3], *of("own", 21, 22, 23)]
    good = guard(tmp_path, 22, rows=mixed, skips=False).good(mixed)
    assert [row["n"] for row in good if not row.get("stands_in")] == [1, 2, 3, 21, 23]
    with pytest.raises(BadRowsError, match=r"data/rows\.json, row 2") as caught:
        guard(tmp_path, 2, 22, rows=mixed, skips=False).good(mixed)
    assert len(caught.value.rows) == 1  # the row of the data set that skips is none of the error's


def test_a_row_is_replaced_by_one_of_its_own_data_set_in_any_set_of_the_run(tmp_path: Path) -> None:
    held_out = of("small", 31, 32)
    trained = [*of("large", *range(40, 60)), *of("small", 33)]
    good = guard(tmp_path, 31, 32, rows=trained, more=[held_out]).good(held_out)
    assert [row["n"] for row in good] == [33, 33]
    assert stand_ins(good) == [0, 1]
    assert weights_of(good[:1] + trained[:2])["weights"].tolist() == [0, 1, 1]
    assert weights_of(trained) == {}


def test_rows_of_a_stream_have_only_a_file_and_are_told_apart(tmp_path: Path) -> None:
    rows = [{"place": "data/rows.json", "n": number, "side_file": "out/rows.jsonl"} for number in (1, 2, 3)]
    good = guard(tmp_path, 2, rows=iter(()), skips=False).good(rows)
    assert [bool(row.get("stands_in")) for row in good] == [False, True, False]
    assert good[1]["n"] in (1, 3)


def test_a_lack_of_memory_says_nothing_about_a_row(tmp_path: Path) -> None:
    def collate(features: list[Any]) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        RowGuard(collate, ROWS, skips=True, side_file=str(tmp_path / "x")).good(ROWS[:1])
