"""The measurements of `benchmarks/reliability.py` see what they look for: a planted key, a process that is left, a lost row."""

import base64
import importlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llamafactory_hind.storage.append_log import AppendLog
from llamafactory_hind.storage.journal import Journal
from llamafactory_hind.storage.rows import RowsError
from llamafactory_hind.storage.rows.problems import Place, RowProblem
from shared.killing import Killer, in_a_fork


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_a_key_is_found_in_every_kind_of_file(load, tmp_path: Path) -> None:
    keys: ModuleType = load("api_keys")
    (tmp_path / "clean.txt").write_text("sk-something")
    assert keys.hits(tmp_path) == []
    plain = next(iter(keys.KEYS.values()))
    (tmp_path / "log.txt").write_text(f"Bearer {plain}")
    pq.write_table(pa.table({"text": [f"x {plain}"] * 50}), tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "url.bin").write_bytes(base64.b64encode(keys.TELLING.encode()))
    assert keys.hits(tmp_path) == ["a.parquet", "log.txt", "url.bin"]


def test_a_process_that_is_left_is_found_and_ended(load, monkeypatch: pytest.MonkeyPatch) -> None:
    children: ModuleType = load("child_processes")
    monkeypatch.setattr(children, "GRACE", 0.2)
    mark = uuid.uuid4().hex
    assert children.left(mark) == {}
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words, env=os.environ | {children.MARK: mark}) as process:
        assert list(children.left(mark)) == [process.pid]
        assert process.wait() == -9


class Reader:
    """Loses a row, ends with an error that is not named, with one that is, and lists one."""

    def read(self, texts: list[str]) -> tuple[int, int]:
        if "wrong" in texts:
            raise TypeError("no row")
        if "named" in texts:
            raise RowsError([RowProblem(Place("rows.jsonl", 1), "id", "x", "y", "z")])
        listed = texts.count("bad")
        return len(texts) - listed - texts.count("lost"), listed


def test_rows_are_counted_one_by_one(load) -> None:
    tally = load("malformed_rows").Tally(Reader())
    tally.take(["good", "wrong", "good", "", "named", "bad", "lost"])
    found = {name: count for name, count in tally.ends.items() if count}
    assert found == {"accepted": 2, "left out, named": 1, "refused, named": 1, "traceback": 1, "lost": 1}
    assert len(tally.faults) == 2


@pytest.fixture
def killed_in_the_middle(tmp_path: Path) -> Iterator[Path]:
    """A log that was killed in the middle of its second line."""
    file = tmp_path / "log.jsonl"

    def write() -> None:
        log = AppendLog(file)
        log.append([b'{"key": "a", "result": 1}\n'])
        log.append([b'{"key": "b", "result": 2}\n'])

    assert in_a_fork(write, Killer(str(tmp_path), at="fsync log.jsonl #2", moment="middle")) == -9
    yield file


def test_a_kill_in_the_middle_of_a_line_leaves_half_of_it(killed_in_the_middle: Path) -> None:
    content = killed_in_the_middle.read_bytes()
    assert content.startswith(b'{"key": "a", "result": 1}\n{"key": ')
    assert not content.endswith(b"\n")
    with Journal(killed_in_the_middle) as journal:
        assert (dict(journal.results), journal.cut_lines) == ({"a": 1}, 1)


@dataclass
class Ended:
    """A process that has ended."""

    status: int
    log: Path

    def wait(self) -> list[int]:
        return [self.status]


@pytest.mark.parametrize(
    ("status", "said", "wrong"),
    [
        (1, "a.json: not written, the disk is full. Make room.", None),
        (1, "Traceback (most recent call last)\n  File\nOSError: [Errno 28]", "a traceback: OSError: [Errno 28]"),
        (0, "done", "it ended with status 0"),
        (1, "it went wrong", "no line about the disk: it went wrong"),
    ],
)
def test_how_a_run_ends_on_a_full_disk_is_judged(
    load, tmp_path: Path, status: int, said: str, wrong: str | None
) -> None:
    (tmp_path / "log").write_text(said)
    assert load("full_disk").judged(Ended(status, tmp_path / "log")) == wrong


def test_outputs_of_synth_are_compared_and_journals_are_not(load, tmp_path: Path) -> None:
    runs = object.__new__(load("killed_synth").SynthRuns)
    runs.whole, out = tmp_path / "whole", tmp_path / "out"
    for folder in (runs.whole, out):
        folder.mkdir()
        (folder / "o.jsonl").write_text("1\n")
        (folder / "o.journal.jsonl").write_text(folder.name)
    assert runs.differences(out) == []
    (out / "o.jsonl").write_text("2\n")
    (out / "o.failures.jsonl").write_text("one\n")
    (runs.whole / "o.report.json").write_text("{}")
    assert runs.differences(out) == ["o.failures.jsonl", "o.jsonl", "o.report.json"]
