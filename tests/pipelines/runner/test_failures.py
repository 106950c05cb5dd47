"""The file of failures, also that of an earlier version."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from llamafactory_hind.pipelines.runner.failures import FailureLog, read_failures
from llamafactory_hind.pipelines.runner.rows import Failure


FAILURE = Failure("r1", "d.json", 2, "too late", {"question": "q"}, "0123")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "o.failures.jsonl"
    assert read_failures(path) == []
    FailureLog(path, [FAILURE], max_rate=1.0)
    assert read_failures(path) == [FAILURE]
    assert json.loads(path.read_text())["work_key"] == "0123"


@pytest.mark.parametrize("name", ["unit", "work_item"])
def test_the_key_of_earlier_versions_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "o.failures.jsonl"
    line = asdict(FAILURE)
    line[name] = line.pop("work_key")
    path.write_text(json.dumps(line) + "\n")
    assert read_failures(path) == [FAILURE]
