"""What a run needs around it, looked at before it starts."""

from pathlib import Path

import pytest

from llamafactory_hind.check.findings import Report
from llamafactory_hind.check.surroundings import check_writers, planned_processes
from shared.checkpoints import save


@pytest.mark.parametrize(
    ("processes", "level", "says"),
    [(None, "note", "written by 1 process(es)"), (1, None, ""), (2, "error", "1 process(es), and 2 are to go on")],
)
def test_a_checkpoint_of_another_number_of_processes(
    processes: int | None, level: str | None, says: str, tmp_path: Path
) -> None:
    """An error where the environment says how many there will be, else a note."""
    save(tmp_path, 2)
    report = Report("run.yaml")
    check_writers(tmp_path / "checkpoint-2", processes, report)
    found = [(finding.level, finding.message) for finding in report.findings]
    assert [one for one, _ in found] == ([] if level is None else [level])
    assert all(says in message for _, message in found)


def test_processes_are_counted_over_nodes() -> None:
    assert planned_processes({}) is None
    assert planned_processes({"NPROC_PER_NODE": "8"}) == 8
    assert planned_processes({"NPROC_PER_NODE": "8", "NNODES": "2"}) == 16
    assert planned_processes({"NPROC_PER_NODE": "gpu"}) is None
