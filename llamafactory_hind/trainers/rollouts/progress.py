"""The bar of completions and the line in the log while they are written; the Trainer's own bar counts optimiser steps."""

import time
from collections.abc import Callable
from typing import Any

from llamafactory.extras import logging
from tqdm import tqdm
from transformers import TrainerCallback


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.progress")
SILENCE = 30.0  # [ours] seconds of writing without a line in the log, which LLaMA Board shows


class WritingProgress:
    """Counts what is written.

    Args:
        completions: of a rollout of this process.
    """

    def __init__(self, completions: int) -> None:
        """Show nothing yet."""
        self.completions = completions
        self._bar: tqdm | None = None
        self._written, self._spoke = 0, time.perf_counter()

    def advance(self, completions: int, *, step: int, rollouts: int, shown: bool) -> None:
        """Note that more were written.

        Args:
            completions: how many more.
            step: number of the optimiser step they are for, from 1.
            rollouts: still to come, this one included.
            shown: whether there is a bar.
        """
        self._written += completions
        if time.perf_counter() - self._spoke > SILENCE:
            self._spoke = time.perf_counter()
            logger.info_rank0(f"Step {step}: {self._written} completions written so far.")
        if not shown:
            return
        if self._bar is None:
            self._bar = tqdm(total=rollouts * self.completions, desc="completions", position=1, leave=False)
        self._bar.update(completions)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class CloseRollouts(TrainerCallback):
    """Waits at the end of training for what is still on its way to disk.

    Args:
        close: closes the bar and the completion log.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        """Keep the function."""
        self.close = close

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close."""
        self.close()
