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
import os

def broken(completions, **columns):
    """Works on process 0, and for the check of all rewards at the start."""
    if os.environ.get("RANK") == "1" and len(completions) > 1:
        raise RuntimeError("no answer from the judge")
    return [float(len(text)) for text in completions]
'''


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


@pytest.mark.slow
def test_a_reward_that_fails_on_one_process_ends_the_run(small_world: Path, tmp_path: Path) -> None:
    write_prompts(small_world, tmp_path)
    (tmp_path / "broken.py").write_text(REWARD)
    settings: dict[str, Any] = {**BASE, **places(small_world, tmp_path, tmp_path / "out")}
    settings |= {"reward_funcs": [f"{tmp_path / 'broken.py'}:broken"], "per_device_train_batch_size": 1}
    started = Processes(TRAIN, [str(written(settings, tmp_path / "run"))], tmp_path / "log", ranks=2)
    assert all(code not in (0, None) for code in codes(started))
    assert "Process 1 failed: " in (tmp_path / "log").read_text()
    assert "no answer from the judge" in (tmp_path / "log").read_text()
