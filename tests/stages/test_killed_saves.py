"""A run that is killed again and again while it saves ends where one that was never killed does, bit by bit.

Each start is killed at another file operation of a save; the next goes on from the newest whole checkpoint.
`benchmarks/reliability.py saves` does the same at every operation of a save.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llamafactory_hind.storage.checkpoints import find_whole
from shared.killing import ARMED, environment
from shared.stages import (
    BASE,
    NO_SHARED_MEMORY,
    PLAIN_STEPS,
    TRAIN,
    ZERO2,
    history,
    places,
    run,
    wait_for,
    warm,
    write_prompts,
    written,
)
from shared.warm import Processes


pytestmark = [pytest.mark.train, pytest.mark.slow]
RESUMING = "Resuming training from"


@pytest.fixture
def settings(small_world: Path, tmp_path: Path) -> dict[str, Any]:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    return {**BASE, **places(small_world, write_prompts(small_world, prompts), tmp_path / "out")}


def start(settings: dict[str, Any], file: Path, **changes: str) -> Processes:
    return Processes(ARMED + TRAIN, [str(written(settings, file))], file.with_suffix(".log"), **changes)


def killed_at(settings: dict[str, Any], file: Path, operation: str, moment: str) -> str:
    """Start the run, let it be killed there, and return its output."""
    told = environment(Path(settings["output_dir"]), at=operation, moment=moment)
    process = start(settings, file, **told)
    while process.running():
        process._processes[0].join(0.05)
    said = process.log.read_text()
    assert process._processes[0].exitcode == -signal.SIGKILL, (operation, said[-3000:])
    return said


def assert_equal(one: Path, other: Path) -> None:
    """Same weights bit by bit, same losses, and a state of the same step."""
    assert history(one) == history(other)
    weights = next(path.name for path in other.glob("*.safetensors"))
    mine, expected = load_file(one / weights), load_file(other / weights)
    assert mine.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(mine[name], tensor), name


def test_killed_in_every_kind_of_operation_it_ends_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    """Eight kills; then it is finished, and started again it does nothing."""
    changes = {"num_iterations": 2, "max_steps": 4, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}
    settings = {**settings, **changes, "lr_scheduler_type": "cosine"}
    start({**settings, "output_dir": str(tmp_path / "whole")}, tmp_path / "never").finish()
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    points = [
        ("safetensors .saving/checkpoint-1/model.safetensors", "middle", None),
        ("torch.save .saving/checkpoint-2/optimizer.pt", "middle", None),
        ("torch.save .saving/checkpoint-3/.rollouts_0.PID.writing.pt", "middle", 1),
        ("open .saving/checkpoint-3/trainer_state.json", "middle", 2),
        ("rename .saving/checkpoint-3", "before", 2),
        ("rename .saving/checkpoint-3", "middle", 2),
        ("unlink .removing/checkpoint-2/optimizer.pt", "middle", 3),  # by the limit, once checkpoint-4 is whole
        ("replace .saving/final/model.safetensors", "before", 4),
    ]
    for operation, moment, step in points:
        said = killed_at(settings, file, operation, moment)
        assert said.count(f"{RESUMING} {out}") == (step is not None), operation
        assert step is None or f"{RESUMING} {out}/checkpoint-{step}." in said, operation
    assert not (out / "model.safetensors").exists()
    assert f"{RESUMING} {out}/checkpoint-4." in start(settings, file).finish()
    assert_equal(out, tmp_path / "whole")
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]
    assert not [path for path in out.iterdir() if path.name.startswith(".") and path.name != ".hind.lock"]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".hind.lock"}
    assert "is finished, at step 4: nothing is left to do" in start(settings, file).finish()
    assert before == {path: path.read_bytes() for path in before}


def test_a_checkpoint_of_the_last_step_takes_no_further_step(settings: dict[str, Any], tmp_path: Path) -> None:
    """Where nothing says that the run is finished, its last checkpoint does, by steps and by epochs, under another schedule."""
    settings = {**settings, "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    out = run(settings)
    weights = load_file(out / "model.safetensors")
    for changes in ({"lr_scheduler_type": "cosine"}, {"max_steps": -1, "num_train_epochs": 0.5}):
        record = json.loads((out / "hind_run.json").read_text())
        (out / "hind_run.json").write_text(json.dumps({**record, "finished": None}))
        again = run(settings, **changes)
        assert json.loads((again / "trainer_state.json").read_text())["global_step"] == 4
        after = load_file(out / "model.safetensors")
        assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
        assert (
            json.loads((out / "train_results.json").read_text())["train_loss"] != 0.0
        )  # of the steps that were taken


@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)]
)
def test_a_signal_ends_it_with_one_line(
    settings: dict[str, Any], tmp_path: Path, number: signal.Signals, name: str, status: int
) -> None:
    settings = {**settings, "max_steps": 500, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    process = start(settings, tmp_path / "stopped")
    wait_for(Path(settings["output_dir"]) / "checkpoint-2" / "trainer_state.json", process)
    os.kill(process._processes[0].pid, number)
    process._processes[0].join(60)
    said = process.log.read_text()
    assert process._processes[0].exitcode == status
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if line.startswith(f"Stopped by {name}."))
    assert "is saved, whole: the same command goes on from it." in line
    assert str(find_whole(Path(settings["output_dir"])).newest) in line


def test_a_full_disk_ends_it_with_one_line(settings: dict[str, Any], tmp_path: Path) -> None:
    """Files above a size are refused, as a quota does, once the first checkpoint is there: it stays, whole."""
    settings = {**settings, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}
    first = start({**settings, "max_steps": 2}, tmp_path / "first")
    first.finish()
    out = Path(settings["output_dir"])
    size = (out / "checkpoint-2" / "optimizer.pt").stat().st_size
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size - 1}, {size - 1}))\n"
    file = tmp_path / "second"
    process = Processes(limit + TRAIN, [str(written(settings, file))], file.with_suffix(".log"))
    process._processes[0].join(120)
    said = process.log.read_text()
    assert process._processes[0].exitcode == 1
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if "not saved" in line)
    assert f"{out}/checkpoint-4: not saved, the disk is full" in line
    assert f"{out}/checkpoint-2 is saved, whole" in line
    assert sorted(path.name for path in out.glob("*checkpoint*")) == ["checkpoint-2"]
    assert f"{RESUMING} {out}/checkpoint-2." in start(settings, tmp_path / "third").finish()


def test_two_ranks_with_zero_2_go_on_from_a_whole_checkpoint(settings: dict[str, Any], tmp_path: Path) -> None:
    """Rank 0 is killed before it renames the second checkpoint, which rank 1 has its part in; the run then ends the same."""
    (tmp_path / "zero2.json").write_text(json.dumps(ZERO2))
    settings = {**settings, "deepspeed": str(tmp_path / "zero2.json"), "per_device_train_batch_size": 1}
    settings |= {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "ddp_find_unused_parameters": False}
    settings |= PLAIN_STEPS
    warm({**settings, "output_dir": str(tmp_path / "whole")}, tmp_path / "never", ranks=2).finish()
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    told = environment(out, at="rename .saving/checkpoint-2")
    code = ARMED + NO_SHARED_MEMORY + TRAIN
    process = Processes(code, [str(written(settings, file))], file.with_suffix(".log"), ranks=2, **told)
    with pytest.raises(AssertionError):
        process.finish()
    process.kill()
    assert (out / ".saving" / "checkpoint-2" / "rng_state_1.pth").is_file()
    assert f"{RESUMING} {out}/checkpoint-1." in warm(settings, tmp_path / "again", ranks=2).finish()
    assert_equal(out, tmp_path / "whole")
    assert {"rng_state_0.pth", "rng_state_1.pth", "latest"} <= {path.name for path in (out / "checkpoint-3").iterdir()}
