"""Files of completions: joined at checkpoints, taken up again, and readable at every moment."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llamafactory_hind.storage import completion_files
from llamafactory_hind.storage.completion_files import (
    IN_A_GROUP,
    current_files,
    evaluation_file,
    join_steps,
    part_file,
    read_run_record,
    step_file,
    table_of,
    write_run_record,
)


def entry(step: int, text: str, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "process": 0,
        "group": 0,
        "row_id": f"r{step}",
        "sample": 0,
        "kept": True,
        "completion": text,
        "reward": 1.0,
        "reward/right": None,
        "advantage": 0.5,
        "prompt": "p",
        **more,
    }


def write(folder: Path, step: int, text: str, process: int = 0, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(table_of([entry(step, text, process=process, **more)]), step_file(folder, step, process))


def texts(folder: Path) -> list[tuple[int, str]]:
    """What a user reads who gives pyarrow the folder."""
    table = pq.read_table(folder)
    return sorted(zip(table["step"].to_pylist(), table["completion"].to_pylist(), strict=True))


def test_steps_up_to_the_checkpoint_are_joined(tmp_path: Path) -> None:
    for step in range(1, 6):
        write(tmp_path, step, f"t{step}")
    before = texts(tmp_path)
    assert join_steps(tmp_path, 3) == part_file(tmp_path, 1, 3)
    assert [file.path.name for file in current_files(tmp_path)] == [
        "part-00000001-00000003.parquet",
        "00000004-00000.parquet",
        "00000005-00000.parquet",
    ]
    assert texts(tmp_path) == before
    assert join_steps(tmp_path, 3) is None
    assert join_steps(tmp_path, 5) == part_file(tmp_path, 4, 5)
    assert texts(tmp_path) == before


def test_steps_that_are_written_again_replace_joined_ones(tmp_path: Path) -> None:
    """Joined up to 4, taken up again at 2: steps 3 and 4 are new, and a join at 3 leaves step 4 as it was."""
    for step in range(1, 5):
        write(tmp_path, step, "old")
    join_steps(tmp_path, 4)
    write(tmp_path, 3, "new")
    assert join_steps(tmp_path, 3) == part_file(tmp_path, 1, 4)
    assert texts(tmp_path) == [(1, "old"), (2, "old"), (3, "new"), (4, "old")]
    write(tmp_path, 4, "new")
    write(tmp_path, 5, "new")
    assert join_steps(tmp_path, 5) == part_file(tmp_path, 1, 5)
    assert texts(tmp_path) == [(1, "old"), (2, "old"), (3, "new"), (4, "new"), (5, "new")]
    assert [file.path.name for file in current_files(tmp_path)] == ["part-00000001-00000005.parquet"]


def test_a_join_that_bridges_two_parts_takes_both(tmp_path: Path) -> None:
    for first in (1, 3):
        for step in (first, first + 1):
            write(tmp_path, step, "old")
        join_steps(tmp_path, first + 1)
    for step in (2, 3):
        write(tmp_path, step, "new")
    assert join_steps(tmp_path, 3) == part_file(tmp_path, 1, 4)
    assert texts(tmp_path) == [(1, "old"), (2, "new"), (3, "new"), (4, "old")]


@pytest.mark.parametrize("left", [0, 1])
def test_a_kill_while_joining_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Killed before the new file has its name (0), or before the old ones are removed (1); the next join mends it."""
    write(tmp_path, 1, "a")
    join_steps(tmp_path, 1)
    write(tmp_path, 1, "b")
    write(tmp_path, 2, "b")
    with monkeypatch.context() as patch:
        if left:
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            patch.setattr(completion_files, "_write_joined", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            join_steps(tmp_path, 2)
    steps = {file.first for file in current_files(tmp_path) if file.kind == "step"}
    assert steps == {1, 2}  # a reader takes them before what joined files say of the same steps
    join_steps(tmp_path, 2)
    assert texts(tmp_path) == [(1, "b"), (2, "b")]


def test_of_two_joined_files_the_larger_one_counts(tmp_path: Path) -> None:
    """Killed when the steps were removed and the older joined file was not: the next join takes what is newer."""
    write(tmp_path, 1, "a")
    join_steps(tmp_path, 1)
    pq.write_table(table_of([entry(1, "b"), entry(2, "b")]), part_file(tmp_path, 1, 2))
    assert [file.path for file in current_files(tmp_path)] == [part_file(tmp_path, 1, 2)]
    write(tmp_path, 2, "c")
    join_steps(tmp_path, 2)
    assert texts(tmp_path) == [(1, "b"), (2, "c")]


def test_columns_that_come_later_are_joined(tmp_path: Path) -> None:
    write(tmp_path, 1, "a")
    write(tmp_path, 2, "b", **{"reward/late": 1, "stream/gate": 1.0})
    join_steps(tmp_path, 2)
    table = pq.read_table(part_file(tmp_path, 1, 2))
    assert table["reward/late"].to_pylist() == [None, 1.0]
    assert table.column_names[:6] == ["step", "process", "group", "row_id", "sample", "kept"]
    assert table.column_names.index("stream/gate") < table.column_names.index("completion")


def test_row_groups_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert IN_A_GROUP == 4096
    monkeypatch.setattr(completion_files, "IN_A_GROUP", 3)
    for step in range(1, 6):
        write(tmp_path, step, "a")
        write(tmp_path, step, "b", process=1)
    file = pq.ParquetFile(join_steps(tmp_path, 5))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [3, 3, 3, 1]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_record_and_evaluations_stay_out_of_the_way(tmp_path: Path) -> None:
    """`pandas.read_parquet(folder)` of our pages reads training alone."""
    write(tmp_path, 1, "a")
    write_run_record(tmp_path, {"stage": "grpo"})
    pq.write_table(table_of([entry(1, "eval")]), evaluation_file(tmp_path, 1, 0, "a/b c"))
    assert texts(tmp_path) == [(1, "a")]
    assert [file.kind for file in current_files(tmp_path)] == ["step", "eval"]
    assert read_run_record(tmp_path) == {"format": 1, "stage": "grpo"}
    (tmp_path / "_run.json").unlink()
    assert read_run_record(tmp_path) is None
    (tmp_path / "run.json").write_text(json.dumps({"stage": "kepo"}))
    assert read_run_record(tmp_path) == {"stage": "kepo"}
