"""Locks between processes: one at a time, and a full disk is told as for every other file."""

import fcntl
import os
from pathlib import Path

import pytest

from llamafactory_hind.storage.atomic import WriteRefused
from llamafactory_hind.storage.dataset_info import register
from llamafactory_hind.storage.journal import Journal
from llamafactory_hind.storage.locks import Held, take
from llamafactory_hind.storage.outputs import note_written
from llamafactory_hind.storage.runs import lock_folder
from shared.killing import in_a_fork


WAYS = [
    pytest.param(lambda disk: Journal(disk / "a.journal.jsonl"), id="journal"),
    pytest.param(lock_folder, id="folder of a run"),
    pytest.param(lambda disk: register(disk, "x", {}, disk / "x.json"), id="dataset_info.json"),
    pytest.param(lambda disk: note_written(disk / "x.json", by="score"), id="note of an output"),
]


def fill(disk: Path) -> None:
    """Write until no byte is left."""
    with open(disk / "ballast", "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """Three files, and no room."""
    (small_disk / "dataset_info.json").write_text("{}")
    (small_disk / "x.json").write_text("[]")
    fill(small_disk)
    return small_disk


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_with_no_room_for_a_name_is_told_in_one_line(full_disk: Path, way) -> None:
    for number in range(12):
        try:
            (full_disk / f"name{number}").touch()
        except OSError:
            break
    with pytest.raises(WriteRefused, match="the disk is full") as error:
        way(full_disk)
    assert "\n" not in str(error.value)
    assert (full_disk / "dataset_info.json").read_text() == "{}"


def test_a_disk_with_no_room_for_a_number_locks_all_the_same(full_disk: Path) -> None:
    """The file is there, empty; who holds it is not known."""
    lock = take(full_disk / "lock")

    def another() -> None:
        with pytest.raises(Held, match="unknown"):
            take(full_disk / "lock")

    assert in_a_fork(another) == 0
    lock.close()
    take(full_disk / "lock").close()


def test_the_holder_is_named_and_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path) -> None:
    with take(tmp_path / "lock"), pytest.raises(Held, match=str(os.getpid())):
        take(tmp_path / "lock")

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    with take(tmp_path / "lock", lock=fcntl.flock), take(tmp_path / "lock", lock=no_locks):
        pass
