"""What a run shows of its rollouts: means for the log, completions on disk and in the terminal, the bar of writing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from llamafactory.extras import logging

from ..metrics import Averages, peak_memory_gib
from .completions import CompletionLog, show_completions
from .metrics import rollout_metrics, zero_variance_share
from .progress import WritingProgress
from .records import Annotation


if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerState, TrainingArguments


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.log")
FLAT_STEPS = 20  # [ours] steps with almost no advantage in a row before it is worth a warning
FLAT_SHARE = 0.9


class RolloutLog:
    """Collects numbers and completions between two lines of the log.

    Args:
        args: of the training.
        completions: keeps what was written.
        progress: the bar.
    """

    def __init__(self, args: "TrainingArguments", completions: CompletionLog, progress: WritingProgress) -> None:
        """Start the clock."""
        self.args, self.completions, self.progress = args, completions, progress
        self.averages = Averages()
        self._latest: Annotation | None = None
        self._flat_steps = 0
        self._tokens, self._clock = 0, time.perf_counter()

    def add(self, annotation: Annotation, state: "TrainerState") -> None:
        """Count and keep what new rollouts say."""
        self._latest = annotation
        for name, values in rollout_metrics(annotation).items():
            self.averages.add_values(name, values)
        self.completions.put(annotation, step=state.global_step + 1, epoch=float(state.epoch or 0.0))
        self._tokens += sum(len(ids) for rollout in annotation.rollouts for ids in rollout.completion_ids)
        flat = zero_variance_share(annotation) >= FLAT_SHARE
        self._flat_steps = self._flat_steps + 1 if flat else 0
        if self._flat_steps == FLAT_STEPS:
            logger.warning_rank0(
                f"For {FLAT_STEPS} steps, nearly all completions of a prompt had equal rewards, which teaches nothing: take "
                "harder or easier prompts, a finer reward, more `num_generations`, or a higher `rollout_temperature`."
            )

    @contextmanager
    def timed(self, phase: str, *, share: float = 1.0) -> Iterator[None]:
        """Take the time of a phase, or of a `share` of it."""
        started = time.perf_counter()
        yield
        if self.args.device.type == "cuda":
            torch.cuda.synchronize()
        self.averages.add(f"timing/{phase}", time.perf_counter() - started, share)

    def take(self, accelerator: "Accelerator", state: "TrainerState") -> dict[str, float]:
        """Return the numbers since the last call and show the latest completions; every process must call."""
        found = self.averages.take(accelerator)
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        tokens = torch.tensor(float(self._tokens), device=self.args.device)
        found["tokens_per_second"] = accelerator.reduce(tokens, "sum").item() / seconds
        found["peak_memory_gib"] = peak_memory_gib()
        self._tokens, self._clock = 0, time.perf_counter()
        if self._latest is not None and accelerator.is_main_process and not self.args.disable_tqdm:
            show_completions(self._latest, step=state.global_step)
        return found

    def close(self) -> None:
        """Finish what runs beside the training: the bar, and completions on their way to disk."""
        self.progress.close()
        self.completions.close()
