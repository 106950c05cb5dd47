"""The journal, whole-file writes, registration and identity: what survives a kill, and what is refused."""

import asyncio
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llamafactory_hind.engines.interface import Completion
from llamafactory_hind.pipelines.runner.calls import CallJournal
from llamafactory_hind.storage.dataset_info import register
from llamafactory_hind.storage.digests import digest_path
from llamafactory_hind.storage.files import write_rows
from llamafactory_hind.storage.journal import Journal, JournalBroken, JournalInUse, work_key


def test_units_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.add([("k1", "row 1", {"x": 0.1}), ("k2", "row 2", ["ü"])])
        journal.add([("k3", "row 3", None)])
    with Journal(path) as journal:
        assert journal.results == {"k1": {"x": 0.1}, "k2": ["ü"], "k3": None}
        assert journal.cut_lines == 0


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_cut_last_line_is_dropped_and_the_next_unit_starts_on_its_own_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.add([("k1", "row 1", 1), ("k2", "row 2", 2)])
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with Journal(path) as journal:
        assert journal.results == {"k1": 1}
        assert journal.cut_lines == 1
        journal.add([("k2", "row 2", 2)])
    assert path.read_bytes() == content


def test_an_unreadable_line_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.add([("k1", "row 1", 1)])
    path.write_bytes(path.read_bytes() + b"\x00\x00garbage\n" + path.read_bytes().replace(b"k1", b"k2"))
    with Journal(path) as journal:
        assert set(journal.results) == {"k1", "k2"}
        assert journal.cut_lines == 1


def test_two_runs_on_one_journal_are_refused_and_the_holder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from llamafactory_hind.storage.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(JournalInUse, match=f"process {holder.pid} "):
            Journal(path)
    finally:
        holder.kill()
        holder.wait()
    Journal(path).close()  # a killed run holds nothing


def test_a_cut_entry_behind_a_header_is_dropped_and_the_header_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, header={"model": "m"}) as journal:
        journal.add([("k1", None, 1), ("k2", None, 2)])
    path.write_bytes(path.read_bytes()[:-3])
    with Journal(path, header={"model": "m"}) as journal:
        assert (dict(journal.results), journal.changed, journal.cut_lines) == ({"k1": 1}, [], 1)
        assert journal.row_ids == set()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"header": {"model": "m"}}, {"key": "k1", "result": 1}]


def test_another_header_is_told_by_its_fields_and_the_old_file_is_put_aside(tmp_path: Path) -> None:
    """`dtype` is new, `ref` is gone, `model` is another, and `sizes` is equal though a tuple is a list in JSON."""
    path = tmp_path / "a.jsonl"
    with Journal(path, header={"model": "m", "ref": 1, "sizes": (1, 2)}) as journal:
        journal.add([("k1", None, 1)])
    before = path.read_bytes()
    header = {"model": "n", "dtype": None, "sizes": (1, 2)}
    with Journal(path, header=header, writable=False) as journal:
        assert (journal.changed, dict(journal.results)) == (["dtype", "model", "ref"], {})
    assert path.read_bytes() == before
    with Journal(path, header=header) as journal:
        assert (journal.changed, dict(journal.results)) == (["dtype", "model", "ref"], {})
        journal.add([("k2", None, 2)])
    with Journal(path, header=header) as journal:
        assert (journal.changed, dict(journal.results)) == ([], {"k2": 2})
    assert (tmp_path / "a.jsonl.old").read_bytes() == before


@pytest.mark.parametrize("content", ["", '{"header": {"mod'])
def test_a_kill_before_the_header_stands_leaves_nothing_to_compare(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with Journal(path, header={"model": "m"}) as journal:
        assert journal.changed == []
    assert path.read_text() == '{"header": {"model": "m"}}\n'


@pytest.mark.parametrize("content", ['{"key": "k1", "result": 1}\n', "[1]\n", "no JSON\n"])
def test_a_file_without_a_header_is_stale_in_every_field(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with Journal(path, header={"model": "m", "dtype": "bf16"}) as journal:
        assert (journal.changed, dict(journal.results)) == (["dtype", "model"], {})


def test_a_reader_takes_no_lock_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, writable=False) as journal:
        assert not journal.results
    assert not list(tmp_path.iterdir())
    with Journal(path) as writer:
        writer.add([("k1", "row 1", 1)])
        content = path.read_bytes() + b'{"key": "k2", "resu'
        path.write_bytes(content)  # the writer is in the middle of a line
        with Journal(path, writable=False) as journal:
            assert dict(journal.results) == {"k1": 1}
            with pytest.raises(ValueError, match="for reading only"):
                journal.add([("k2", "row 2", 2)])
    assert path.read_bytes() == content


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.add([("k1", None, 1)])
        assert dict(journal.results) == {"k1": 1}


def test_a_key_changes_with_anything_in_it() -> None:
    content = {"id": "1", "prompts": ["a"], "parameters": {"seed": 1}}
    assert work_key(content) == work_key(dict(reversed(content.items())))
    others = [content | {"id": "2"}, content | {"prompts": ["b"]}, content | {"parameters": {"seed": 2}}]
    assert len({work_key(content), *map(work_key, others)}) == 4


def test_registering_leaves_the_rest_of_the_file_as_it_is(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    before = {"zeta": {"file_name": "z.json", "unknown_key": [1, {"a": None}]}, "alpha": {"file_name": "ä.json"}}
    info.write_text(json.dumps(before, indent=3, ensure_ascii=False))
    register(tmp_path, "new", {"formatting": "hindsight"}, tmp_path / "sub" / "pairs.json")
    after = json.loads(info.read_text())
    assert list(after) == ["zeta", "alpha", "new"]
    assert {name: after[name] for name in before} == before
    assert after["new"] == {"file_name": "sub/pairs.json", "formatting": "hindsight"}
    assert info.read_text().startswith(json.dumps(before, indent=3, ensure_ascii=False)[:-2])
    register(tmp_path, "zeta", {"formatting": "hindsight"}, tmp_path / "z2.json")
    assert list(json.loads(info.read_text())) == ["zeta", "alpha", "new"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".dataset_info.json")]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"a": "ü\n"}, {"a": 2}]])
def test_rows_are_written_as_their_name_says(tmp_path: Path, name: str, rows: list) -> None:
    write_rows(tmp_path / name, rows)
    text = (tmp_path / name).read_text()
    read = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert read == rows


def test_digest_follows_the_content_of_a_folder_but_not_its_time_or_checkpoints(tmp_path: Path) -> None:
    def build(name: str, weights: str) -> str:
        (tmp_path / name / "checkpoint-3").mkdir(parents=True)
        (tmp_path / name / "adapter.safetensors").write_text(weights)
        (tmp_path / name / "checkpoint-3" / "optimizer.pt").write_text(name)
        return digest_path(str(tmp_path / name))

    assert build("a", "1") == build("b", "1") != build("c", "2")
    assert digest_path("Qwen/Qwen2.5-VL-7B-Instruct") == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_units_that_finish_together_share_a_sync_and_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes 50 ms a sync: the first unit has its own, the 99 others share one, and nobody else waits."""
    synced: list[int] = []
    path = tmp_path / "a.journal.jsonl"
    turns = 0

    def slow(number: int) -> None:
        threading.Event().wait(0.05)
        synced.append(path.read_bytes().count(b"\n"))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async def commit(journal: Journal, number: int) -> None:
        await journal.commit(f"k{number}", f"row {number}", {"number": number})
        assert synced[-1] > number, "it is on the disk when commit returns"

    async def work() -> None:
        counting = asyncio.create_task(count_turns())
        with Journal(path) as journal:
            await asyncio.gather(*(commit(journal, number) for number in range(100)))
            assert journal.results["k99"] == {"number": 99}
            assert len(journal.results) == 100
        counting.cancel()

    monkeypatch.setattr(os, "fsync", slow)
    asyncio.run(work())
    assert synced == [100] or (len(synced) == 2 and synced[-1] == 100)
    assert turns > 10


def test_what_was_handed_over_is_written_though_its_task_is_cancelled(tmp_path: Path) -> None:
    """An answer that was paid for is kept when Ctrl-C comes before the sync."""
    path = tmp_path / "a.journal.jsonl"

    async def work() -> None:
        with Journal(path) as journal:
            tasks = [asyncio.create_task(journal.commit(f"k{number}", "row", number)) for number in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())
    with Journal(path) as journal:
        assert journal.results == {"k0": 0, "k1": 1, "k2": 2}


def test_a_full_disk_stops_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.journal.jsonl"

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    async def work(journal: Journal) -> None:
        await journal.commit("k2", "row 2", 2)

    with Journal(path) as journal:
        journal.add([("k1", "row 1", 1)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalBroken, match="No space left"):
                journal.add([("k2", "row 2", 2)])
            with pytest.raises(JournalBroken, match="No space left"):
                asyncio.run(work(journal))
        assert journal.results == {"k1": 1}
        journal.add([("k3", "row 3", 3)])
        assert journal.results["k3"] == 3
    assert len(path.read_bytes().splitlines()) == 2


def test_half_a_surrogate_pair_does_not_stop_a_run(tmp_path: Path) -> None:
    """A server may cut a text in the middle of an emoji."""
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.add([(work_key({"text": "\ud83d"}), "row", "half \ud83d ü")])
        assert list(journal.results.values()) == ["half \ud83d ü"]
    write_rows(tmp_path / "rows.json", [{"text": "half \ud83d ü"}])
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == [{"text": "half \ud83d ü"}]


def test_a_recorded_call_is_what_was_answered(tmp_path: Path) -> None:
    answered = [
        Completion("a text", (), -1.2345678901234567, "stop", 3),
        Completion("", (), None, "length"),
        Completion("local", (5, 6), -0.5, "stop"),
    ]
    with CallJournal(tmp_path / "a.calls.jsonl") as calls:
        asyncio.run(calls.keep("k1", "row 1", answered))
    with CallJournal(tmp_path / "a.calls.jsonl") as calls:
        assert calls.find("k1") == answered
        assert calls.find("k2") is None
