"""Files at one stroke with the permissions of their folder; never one that is read, or that somebody else wrote."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.storage.append_log import AppendLog, JournalBroken
from llamafactory_hind.storage.atomic import WriteRefused, refusal_of, replaced, write_bytes, write_json, write_text
from llamafactory_hind.storage.dataset_info import entry_problems, register
from llamafactory_hind.storage.files import write_rows
from llamafactory_hind.storage.outputs import is_ours, output_problems, same_file, written
from shared.killing import Killer, in_a_fork


ROWS = [{"id": "a", "text": "x" * 300}]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_a_file_has_the_permissions_of_the_umask_or_of_the_one_it_replaces(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new", "1")
        (tmp_path / "kept").write_text("0")
        (tmp_path / "kept").chmod(0o640)
        write_text(tmp_path / "kept", "1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link.json").symlink_to("deep/real.json")
    write_json(tmp_path / "link.json", [1])
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "deep" / "real.json").read_text()) == [1]
    assert names(tmp_path / "deep") == ["real.json"]


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def parts() -> object:
        yield {"id": "1"}
        raise KeyError("no such row")

    with pytest.raises(KeyError):
        write_rows(tmp_path / "a.txt", parts())
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_killed_at_every_file_operation_the_old_or_the_new_is_there(tmp_path: Path) -> None:
    """Also what is noted of it: the command may always write the file again."""

    def write() -> None:
        write_rows(folder / "out.json", ROWS, by="synth answer")

    folder, record = tmp_path / "listed", tmp_path / "operations"
    folder.mkdir()
    write_rows(folder / "out.json", [], by="synth answer")
    assert in_a_fork(write, Killer(str(folder), record=str(record))) == 0
    operations = record.read_text().splitlines()
    assert len(operations) >= 8, operations
    for number, operation in enumerate(operations):
        for moment in ("before", "middle"):
            folder = tmp_path / f"{number}-{moment}"
            folder.mkdir()
            write_rows(folder / "out.json", [], by="synth answer")
            assert in_a_fork(write, Killer(str(folder), at=operation, moment=moment)) == -9, operation
            assert json.loads((folder / "out.json").read_text()) in ([], ROWS), operation
            assert is_ours(folder / "out.json", by="synth answer"), (operation, moment)
            write()
            assert json.loads((folder / "out.json").read_text()) == ROWS


def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(small_disk: Path) -> None:
    """Every way to write, on a disk that is really full."""
    write_json(small_disk / "a.json", {"old": 1})
    log = AppendLog(small_disk / "log")
    log.append([b"one\n"])
    (small_disk / "dataset_info.json").write_text('{\n  "x": {"file_name": "x.json"}\n}\n')
    before = {path: path.read_bytes() for path in small_disk.iterdir()}
    large = "y" * 100_000
    ways = [
        lambda: write_text(small_disk / "a.json", large),
        lambda: write_bytes(small_disk / "a.json", large.encode()),
        lambda: write_rows(small_disk / "a.json", [{"text": large}], by="score"),
        lambda: write_rows(small_disk / "b.jsonl", [{"text": large}]),
        lambda: log.append([large.encode() + b"\n"]),
        lambda: register(small_disk, "y", {"tags": large}, small_disk / "y.json"),
    ]
    for way in ways:
        with pytest.raises(WriteRefused, match="the disk is full") as error:
            way()
        assert "\n" not in str(error.value)
        after = {path: path.read_bytes() for path in small_disk.iterdir() if path.name != ".dataset_info.lock"}
        assert after == before
    log.append([b"two\n"])
    assert (small_disk / "log").read_bytes() == b"one\ntwo\n"
    log.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota is used up"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission is denied"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file"), "full"),
        (JournalBroken("x: the disk is full"), "x: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ValueError("a number"), None),
    ],
)
def test_what_libraries_say_of_a_full_disk_is_understood(error: Exception, reason: str | None) -> None:
    found = refusal_of(error)
    assert found is None if reason is None else reason in (found or "")


def test_one_file_under_many_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "rows.json").write_text("[]")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "rows.json")
    (tmp_path / "soft.json").symlink_to("rows.json")
    (tmp_path / "folder").symlink_to(".")
    for name in ("hard.json", "soft.json", "a/../rows.json", "folder/rows.json"):
        assert same_file(tmp_path / name, tmp_path / "rows.json"), name
        (problem,) = output_problems(
            "output", [tmp_path / name], {"`dataset: d`": [tmp_path / "rows.json"]}, by="score"
        )
        assert "`dataset: d` is read from it" in str(problem)
    assert not same_file(tmp_path / "other.json", tmp_path / "rows.json")
    assert same_file(tmp_path / "folder" / "new.json", tmp_path / "new.json")  # neither is there


def test_a_file_is_ours_until_somebody_changes_it(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    found = lambda by: [str(problem) for problem in output_problems("output", [out], {}, by=by)]
    assert not found("score")
    out.write_text("theirs")
    assert "`score` did not write what is there" in found("score")[0]
    out.unlink()
    write_rows(out, ROWS, by="score")
    assert not found("score")
    assert found("synth hints")  # another command
    with written(out, by="score") as temporary:
        temporary.write_text("again")
    assert not found("score")
    out.write_text(out.read_text() + "\nmy correction")
    assert found("score")
    out.unlink()
    out.mkdir()
    assert "It is a folder" in found("score")[0]


def test_a_file_that_was_removed_may_be_written_again_and_its_entry_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_rows(file, ROWS, by="importers")
    file.unlink()
    assert is_ours(file, by="importers")
    assert not is_ours(file, by="synth")
    (tmp_path / "dataset_info.json").write_text("{}")
    register(tmp_path, "d", {"formatting": "region"}, file, by="importers")
    assert not list(entry_problems("--name", tmp_path, ["d"], [file], by="importers", own=True))


def test_entries_of_others_stay(tmp_path: Path) -> None:
    info = {"mine": {"file_name": "mine.json"}, "hub": {"hf_hub_url": "a/b"}, "out": {"file_name": "./out.json"}}
    (tmp_path / "dataset_info.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(info).encode())
    found = lambda names, own=False: [
        str(one)
        for one in entry_problems("output_dataset", tmp_path, names, [tmp_path / "out.json"], by="score", own=own)
    ]
    assert "belongs to" in found(["out", "mine"])[0]
    assert "another data set" in found(["out", "hub"])[0]
    assert "belongs to the data set `out`" in found(["new"])[0]
    assert not found(["new"], own=True)
    assert not found(["out"])
    for name in ("mine", "hub"):
        with pytest.raises(ConfigError, match="a name that is free"):
            register(tmp_path, name, {}, tmp_path / "out.json", by="score")
    register(tmp_path, "out", {"formatting": "hindsight"}, tmp_path / "out.json", by="score")
    after = json.loads((tmp_path / "dataset_info.json").read_text())
    assert after == {**info, "out": {"file_name": "out.json", "formatting": "hindsight"}}


def test_what_a_killed_run_half_wrote_goes_after_a_while(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.1.writing.json", tmp_path / ".a.2.writing.json"
    for file in (old, young):
        file.write_text("{")
    os.utime(old, (0, 0))
    with replaced(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    assert names(tmp_path) == [".a.2.writing.json", "a.json"]
