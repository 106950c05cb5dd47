"""Which checkpoint a run goes on from, and which folders it leaves alone: those of other runs, stages and models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.storage.checkpoints import SEAL, publish, seal
from llamafactory_hind.storage.runs import FolderInUse, lock_folder, write_run
from llamafactory_hind.trainers.resuming import plan_of, prepare, run_of
from shared.checkpoints import fill, gone, safetensors, save
from shared.killing import in_a_fork


STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def arguments(output: Path, **changes: Any) -> Any:
    """What `prepare` looks at of the host's arguments."""
    keys = {"stage": "grpo", "finetuning_type": "lora", "model": "models/tiny", "adapters": None, "dataset": ["d"]}
    keys |= {"max_steps": 6, "world": 1, **changes}
    training = {"output_dir": str(output), "do_train": True, "process_index": 0, "world_size": keys["world"]}
    training |= {"max_steps": keys["max_steps"], "num_train_epochs": 3, "per_device_train_batch_size": 2}
    training |= {"gradient_accumulation_steps": 1}
    return SimpleNamespace(
        model=SimpleNamespace(model_name_or_path=keys["model"], adapter_name_or_path=keys["adapters"]),
        data=SimpleNamespace(dataset=keys["dataset"], max_samples=None),
        training=SimpleNamespace(**training),
        finetuning=SimpleNamespace(stage=keys["stage"], finetuning_type=keys["finetuning_type"]),
    )


def run_into(output: Path, *steps: int, finished: int | None = None, **changes: Any) -> None:
    """Leave what a run leaves."""
    args = arguments(output, **changes)
    output.mkdir(exist_ok=True)
    for step in steps:
        save(output, step)
        sealed = json.loads((output / f"checkpoint-{step}" / SEAL).read_text())
        (output / f"checkpoint-{step}" / SEAL).write_text(json.dumps({**sealed, "run": run_of(args)}))
    write_run(output, run_of(args), plan_of(args), finished=finished)


def start(output: Path, given: Any = None, **changes: Any) -> Any:
    found = prepare(arguments(output, **changes), given)
    if found.lock is not None:
        found.lock.close()
    return found


def refused(output: Path, given: Any = None, **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        start(output, given, **changes)
    return str(error.value)


def test_the_newest_whole_one_is_taken_and_the_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert start(tmp_path / "new").checkpoint is None
    run_into(tmp_path, 2, 4, 6)
    assert start(tmp_path).checkpoint == str(tmp_path / "checkpoint-6")
    gone("optimizer.pt")(tmp_path / "checkpoint-6")
    gone("model.safetensors")(tmp_path / "checkpoint-4")
    for given in (None, "", False, True, "true"):
        assert start(tmp_path, given).checkpoint == str(tmp_path / "checkpoint-2"), given
    said = capsys.readouterr().err + caplog.text
    assert "checkpoint-6 is left out: optimizer.pt is missing; checkpoint-4 is left out: model.safetensors is" in said
    gone("rng_state.pth")(tmp_path / "checkpoint-2")
    assert start(tmp_path).checkpoint is None
    assert "whole checkpoint" in refused(tmp_path, True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stage": "kepo"}, "stage: grpo -> kepo"),
        ({"finetuning_type": "full"}, "finetuning_type: lora -> full"),
        ({"model": "models/other"}, "model: tiny -> other"),
        ({"dataset": ["d", "e"]}, "dataset: ['d'] -> ['d', 'e']"),
        ({"adapters": ["saves/a"]}, "adapters: [] -> ['a']"),
    ],
)
def test_the_folder_of_another_run_is_refused_with_both_named(tmp_path: Path, changes: Any, named: str) -> None:
    """By the folder's record, and without it by its checkpoints."""
    run_into(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert named in refused(tmp_path, **changes)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "hind_run.json").unlink()
    assert named in refused(tmp_path, **changes)


def test_a_project_that_moved_goes_on(tmp_path: Path) -> None:
    run_into(tmp_path, 2)
    assert start(tmp_path, model="/elsewhere/models/tiny/").checkpoint == str(tmp_path / "checkpoint-2")


def test_a_checkpoint_that_is_asked_for(tmp_path: Path) -> None:
    """Of another data set on purpose; not of another stage; not if it is torn."""
    run_into(tmp_path / "first", 2, 4)
    checkpoint = str(tmp_path / "first" / "checkpoint-4")
    assert start(tmp_path / "second", checkpoint, dataset=["e"]).checkpoint == checkpoint
    assert "stage: grpo -> kepo" in refused(tmp_path / "third", checkpoint, stage="kepo")
    gone("optimizer.pt")(Path(checkpoint))
    said = refused(tmp_path / "fourth", checkpoint)
    assert "optimizer.pt is missing" in said
    assert f"The newest whole one is {tmp_path / 'first' / 'checkpoint-2'}" in said
    assert "there is no such folder" in refused(tmp_path / "fifth", str(tmp_path / "nowhere" / "checkpoint-2"))


def test_what_nobody_signed_is_not_gone_on_from_by_itself(tmp_path: Path) -> None:
    """A stage of the host, or an earlier version, left it: only on purpose."""
    run_into(tmp_path, 2)
    (tmp_path / "checkpoint-2" / SEAL).unlink()
    assert "does not say who wrote it" in refused(tmp_path)
    checkpoint = str(tmp_path / "checkpoint-2")
    assert start(tmp_path, checkpoint).checkpoint == checkpoint


def test_a_finished_run_has_nothing_to_do_unless_it_gets_more(tmp_path: Path) -> None:
    run_into(tmp_path, 4, 6, finished=6)
    (tmp_path / "model.safetensors").touch()
    assert start(tmp_path).finished == 6
    more = start(tmp_path, max_steps=8)
    assert (more.finished, more.checkpoint) == (None, str(tmp_path / "checkpoint-6"))


def test_a_model_without_a_state_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.safetensors").touch()
    assert "model.safetensors of a finished run" in refused(tmp_path / "foreign")
    run_into(tmp_path / "own", finished=6)
    (tmp_path / "own" / "adapter_model.safetensors").touch()
    assert "of a finished run" in refused(tmp_path / "own", max_steps=8)
    run_into(tmp_path / "killed in its last save")
    (tmp_path / "killed in its last save" / "model.safetensors").touch()
    assert start(tmp_path / "killed in its last save").checkpoint is None


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)

    def second() -> None:
        with pytest.raises(FolderInUse, match=r"the process \d+ trains into"):
            lock_folder(tmp_path)

    assert in_a_fork(second) == 0
    assert lock is not None
    lock.close()
    assert in_a_fork(lambda: lock_folder(tmp_path)) == 0


def only_model(run: Path, step: int) -> Path:
    """Leave what `save_only_model: true` leaves: a sealed checkpoint of weights alone."""
    staged = run / ".saving" / f"checkpoint-{step}"
    fill(staged, step)
    for name in STATES:
        gone(name)(staged)
    seal(staged, step=step, run=run_of(arguments(run)))
    publish(staged, run / f"checkpoint-{step}")
    return run / f"checkpoint-{step}"


@pytest.mark.parametrize("given", [None, True, "path"])
def test_weights_alone_are_never_gone_on_from(tmp_path: Path, given: Any) -> None:
    """The user has taken `save_only_model` out of the file since: nothing but the checkpoint tells of it."""
    run_into(tmp_path, 2)
    checkpoint = only_model(tmp_path, 4)
    said = refused(tmp_path, str(checkpoint) if given == "path" else given)
    assert said.count("save_only_model: true") == 1
    assert ("resume_from_checkpoint" if given == "path" else "output_dir") in said
    assert all(name in said for name in (*STATES, f"model_name_or_path: {checkpoint}"))
    assert start(tmp_path, str(tmp_path / "checkpoint-2")).checkpoint == str(tmp_path / "checkpoint-2")


def test_a_finished_run_of_weights_alone_is_finished(tmp_path: Path) -> None:
    run_into(tmp_path, 4, finished=6)
    safetensors(tmp_path / "model.safetensors", 256)
    only_model(tmp_path, 6)
    assert start(tmp_path).finished == 6
