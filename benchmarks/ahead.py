"""What `rollout_ahead: 1` saves: step time before the stand-in server, whose writing and whose trainer's learning take a given time.

    python benchmarks/ahead.py [--write 2.0] [--learn 2.0] [--steps 6]

Delays stand for a large model, the tiny one's own computing comes on top. The run without tells how long writing takes, and how long
all else does; their sum is its step. Goal: the step of the run with it takes at most 10 % more than the longer of both. The first step
of an epoch is not written ahead and is left out.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
GOAL = 1.1


class Learning(TrainerCallback):
    """Takes the time of learning before each optimiser step, and notes when each step ends."""

    def __init__(self, seconds: float) -> None:
        """Note nothing yet."""
        self.seconds = seconds
        self.ends: list[float] = []

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Wait."""
        time.sleep(self.seconds)

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def measure(world: Path, *, ahead: int, write: float, learn: float, steps: int) -> tuple[float, float]:
    """Return the median seconds of a step after the first, and those that it waited for completions."""
    from llamafactory_hind.trainers.rollouts.correction import RolloutCorrection
    from shared.rollouts import RolloutSetup
    from shared.served_rollouts import LORA, served
    from shared.vllm_server import Faults, VllmServer

    setup, learning = RolloutSetup(world, tuning=LORA), Learning(learn)
    with VllmServer(world / "tiny", faults=Faults(delay=write)) as server, tempfile.TemporaryDirectory() as folder:
        engines = served(setup, Path(folder), server)
        features = setup.features(["image", "text"])
        trainer = setup.trainer(
            Path(folder),
            engines=engines,
            features=[{**feature, "row_id": str(row)} for row in range(steps) for feature in features],
            options={"correction": RolloutCorrection("token_truncate", 2.0), "ahead": ahead},
            callbacks=[learning],
            max_steps=steps,
        )
        trainer.train()
        engines.close()
    waited = [entry["timing/rollout"] for entry in trainer.state.log_history if "timing/rollout" in entry]
    seconds = [after - before for before, after in zip(learning.ends, learning.ends[1:], strict=False)]
    return statistics.median(seconds), statistics.median(waited[1:])


def main() -> None:
    """Measure with and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=float, default=2.0, help="seconds that the server takes for a step")
    parser.add_argument("--learn", type=float, default=2.0, help="seconds that the trainer takes for a step")
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    from llamafactory_hind.toyworld.build import build
    from shared.store import kept

    world = kept("world", lambda folder: build(folder, seed=0, size="small"))
    found = {
        ahead: measure(world, ahead=ahead, write=given.write, learn=given.learn, steps=given.steps) for ahead in (0, 1)
    }
    step, write = found[0]
    longer = max(write, step - write)
    print(f"rollout_ahead: 0: {step:.2f} s a step: writing {write:.2f} s, all else {step - write:.2f} s")
    print(f"rollout_ahead: 1: {found[1][0]:.2f} s a step: {found[1][0] / longer:.2f} of the longer, goal {GOAL:.2f}")


if __name__ == "__main__":
    main()
