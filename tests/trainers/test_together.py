"""Where one process of a run fails, the others end too, in bounded time, with the message of the one that failed first."""

import time
from pathlib import Path
from typing import Any

import pytest

from shared.stages import BASE, TRAIN, places, write_prompts, written
from shared.warm import Processes


LIMIT = 120.0  # seconds until a process counts as one that waits for ever
PROGRAM = """
import sys, time, torch, torch.distributed as dist
from llamafactory_hind.trainers.together import ends_together
dist.init_process_group("gloo")
failing, waiting = int(sys.argv[1]), sys.argv[2]
with ends_together(grace=float(sys.argv[3])):
    if dist.get_rank() == failing:
        raise ValueError("the reward broke")
    elif waiting == "collective":
        dist.all_reduce(torch.ones(1))
    time.sleep(1000)
"""
REWARD = '''
import os, signal

def broken(completions, **columns):
    """Works on process 0, and for the check of all rewards at the start."""
    if os.environ.get("RANK") == "1" and len(completions) > 1:
        if {stopped}:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            raise RuntimeError("no answer from the judge")
    return [float(len(text)) for text in completions]
'''
FULL_DISK = """
import os, resource
if os.environ["RANK"] == "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""


def codes(processes: Processes) -> list[int | None]:
    """Wait for all processes and return how they ended; None is one that waits."""
    end = time.monotonic() + LIMIT
    for process in processes._processes:
        process.join(max(0.0, end - time.monotonic()))
    found = [process.exitcode for process in processes._processes]
    processes.kill()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize(("waiting", "grace"), [("collective", 60), ("elsewhere", 0.5)])
def test_the_other_process_ends_with_the_message(failing: int, waiting: str, grace: float, tmp_path: Path) -> None:
    """A collective fails as soon as the other process is gone; anything else is ended after `grace`."""
    started = Processes(PROGRAM, [str(failing), waiting, str(grace)], tmp_path / "log", ranks=2)
    assert codes(started) == [1, 1]
    text = (tmp_path / "log").read_text()
    assert f"Process {failing} failed: ValueError: the reward broke" in text
    assert text.count("\nValueError: the reward broke") + text.count(": ValueError: the reward broke") >= 2


@pytest.fixture
def settings(small_world: Path, tmp_path: Path) -> dict[str, Any]:
    """Two prompts a step on two processes."""
    write_prompts(small_world, tmp_path)
    settings = {**BASE, **places(small_world, tmp_path, tmp_path / "out"), "ddp_find_unused_parameters": False}
    return settings | {"per_device_train_batch_size": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped", "says"), [(False, "no answer from the judge"), (True, "it was stopped by a signal")]
)
def test_what_ends_one_process_ends_the_run(
    settings: dict[str, Any], stopped: bool, says: str, tmp_path: Path
) -> None:
    """A reward that fails on process 1, and SIGTERM for process 1 alone."""
    (tmp_path / "broken.py").write_text(REWARD.replace("{stopped}", str(stopped)))
    settings |= {"reward_funcs": [f"{tmp_path / 'broken.py'}:broken"]}
    started = Processes(TRAIN, [str(written(settings, tmp_path / "run"))], tmp_path / "log", ranks=2)
    assert all(code not in (0, None) for code in codes(started))
    text = (tmp_path / "log").read_text()
    assert "Process 1 failed: " in text
    assert says in text


@pytest.mark.slow
def test_a_full_disk_on_one_process_ends_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    """Process 0 alone writes the model; the other one waits until it is saved."""
    settings |= {"save_strategy": "steps", "save_steps": 1}
    words = [str(written(settings, tmp_path / "run"))]
    started = Processes(FULL_DISK + TRAIN, words, tmp_path / "log", ranks=2)
    assert all(code not in (0, None) for code in codes(started))
    text = (tmp_path / "log").read_text()
    assert "Process 0 failed: " in text
    assert "No checkpoint was saved" in text
