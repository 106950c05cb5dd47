"""A checkpoint is whole or not there: killed at every file operation of a save, torn by hand in every way."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llamafactory_hind.storage.atomic import write_json
from llamafactory_hind.storage.checkpoints import SEAL, fault_of, find_whole, rotate, tidy
from shared.checkpoints import gone, save
from shared.killing import Killer, in_a_fork


def adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").unlink()


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    def tear(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return tear


def zeros(name: str) -> Callable[[Path], None]:
    """As a power cut leaves a file that nobody synced: its length without its content."""
    return lambda folder: (folder / name).write_bytes(bytes((folder / name).stat().st_size))


FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json")
TORN = {
    **{f"no {name}": gone(name) for name in FILES},
    **{f"half {name}": cut(name) for name in FILES},
    **{f"empty {name}": cut(name, 0) for name in FILES},
    **{f"zeros {name}": zeros(name) for name in ("model.safetensors", "optimizer.pt", "rng_state.pth")},
    "one byte less": cut("model.safetensors", 0.999),
    "an adapter without its config": adapter,
    "the state of another step": lambda folder: write_json(folder / "trainer_state.json", {"global_step": 2}),
    "an index without its shards": lambda folder: (
        (folder / "model.safetensors").unlink(),
        write_json(folder / "model.safetensors.index.json", {"weight_map": {"w": "model-1.safetensors"}}),
    ),
    "nothing at all": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("torn", TORN)
def test_what_was_torn_by_hand_is_left_out(tmp_path: Path, torn: str, sealed: bool) -> None:
    """With the list of files and, for a checkpoint of the host, without it; the reason names a file or what lacks."""
    for step in (2, 4):
        save(tmp_path, step)
    newest = tmp_path / "checkpoint-4"
    if not sealed:
        (newest / SEAL).unlink()
    assert find_whole(tmp_path).newest == newest
    TORN[torn](newest)
    if not sealed and torn == "zeros optimizer.pt":
        assert fault_of(newest) == "optimizer.pt is cut"  # an archive of zeros has no directory
    found = find_whole(tmp_path)
    assert found.newest == tmp_path / "checkpoint-2"
    ((folder, reason),) = found.left_out
    assert folder == newest
    print(torn, "->", reason)
    assert any(word in reason for word in (*FILES, "adapter_config.json", "model-1.safetensors", "no file of weights"))


def test_a_text_that_was_edited_by_hand_is_no_damage(tmp_path: Path) -> None:
    save(tmp_path, 2)
    write_json(tmp_path / "checkpoint-2" / "trainer_state.json", {"global_step": 2, "max_steps": 1000})
    (tmp_path / "checkpoint-2" / "note.txt").write_text("mine")
    assert fault_of(tmp_path / "checkpoint-2") is None


def test_the_limit_never_takes_the_last_whole_one(tmp_path: Path) -> None:
    """Torn ones are not counted and not removed; the best stays beside the newest."""
    for step in (2, 4, 6):
        save(tmp_path, step)
    gone("optimizer.pt")(tmp_path / "checkpoint-6")
    assert [one.name for one in rotate(tmp_path, limit=1, keep=None)] == ["checkpoint-2"]
    assert find_whole(tmp_path).newest == tmp_path / "checkpoint-4"
    save(tmp_path, 8)
    save(tmp_path, 10)
    rotate(tmp_path, limit=1, keep=tmp_path / "checkpoint-4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4", "checkpoint-6"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("again", [False, True], ids=["new step", "step that is there"])
def test_killed_at_every_file_operation_of_a_save(tmp_path: Path, again: bool) -> None:
    """Before and in the middle of each: the newest whole one is the old or the new, complete, and nothing is left behind."""
    start, record = tmp_path / "start", tmp_path / "operations"
    for step in (2, 4, 6) if again else (2, 4):
        save(start, step)
    good = {step: content(start / f"checkpoint-{step}") for step in (2, 4)}
    saved = lambda run: lambda: save(run, 6, limit=2)
    listed = tmp_path / "listed"
    shutil.copytree(start, listed)
    assert in_a_fork(saved(listed), Killer(str(listed), record=str(record))) == 0
    good[6] = content(listed / "checkpoint-6")
    operations = record.read_text().splitlines()
    assert len(operations) > 25, operations
    ends = {2: 0, 4: 0, 6: 0}
    for number, operation in enumerate(operations):
        for moment in ("before", "middle"):
            run = tmp_path / f"{number}-{moment}"
            shutil.copytree(start, run)
            assert in_a_fork(saved(run), Killer(str(run), at=operation, moment=moment)) == -9, operation
            tidy(run)
            found = find_whole(run)
            assert found.newest is not None
            assert not found.left_out, (operation, moment)
            step = int(found.newest.name[-1])
            assert content(found.newest) == good[step], (operation, moment)
            assert not [path for path in run.iterdir() if not path.name.startswith("checkpoint-")], (operation, moment)
            ends[step] += 1
            in_a_fork(saved(run))
            assert find_whole(run).newest == run / "checkpoint-6"
            shutil.rmtree(run)
    print(f"{2 * len(operations)} kills; went on from {ends}")
    assert ends[2] == 0
