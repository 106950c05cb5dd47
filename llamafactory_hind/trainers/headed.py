"""The Trainer under every loop over a model with heads: it saves both, each in its own file, and loads both."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..engines.local.heads import WithHeads
from .host import HostTrainer
from .metrics import Averages, peak_memory_gib


BODY, HEADS = "body.", "heads."  # of the names of weights in `WithHeads`


class HeadedTrainer(HostTrainer):
    """`HostTrainer` whose model is saved as the host saves it, its heads beside it.

    It counts what a loss is divided by itself (`_get_num_items_in_batch`), and logs means, tokens a second and peak memory.
    """

    model: WithHeads

    def __init__(self, **kwargs: Any) -> None:
        """Build the trainer; `model` is a `WithHeads`, the others are of the Trainer."""
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # what a step has is counted by _get_num_items_in_batch
        self._averages = Averages()
        self._tokens = 0
        self._clock = time.perf_counter()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the means, tokens a second and peak memory since the last line to what the Trainer logs."""
        if "loss" in logs:
            logs.update(self._averages.take(self.accelerator))
            seconds = max(time.perf_counter() - self._clock, 1e-9)
            tokens = torch.tensor(float(self._tokens), device=self.args.device)
            logs["tokens_per_second"] = self.accelerator.reduce(tokens, "sum").item() / seconds
            logs["peak_memory_gib"] = peak_memory_gib()
            self._tokens, self._clock = 0, time.perf_counter()
        super().log(logs, *args, **kwargs)

    @contextmanager
    def as_body(self) -> Iterator[WithHeads]:
        """Let the Trainer, or the host, see the model alone, as if there were no heads."""
        whole = self.model
        self.model = whole.body
        try:
            yield whole
        finally:
            self.model = whole

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        state = self.model.state_dict() if state_dict is None else state_dict
        body, heads = (
            {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
            for part in (BODY, HEADS)
        )
        with self.as_body() as whole:
            super()._save(output_dir, state_dict=body)
        whole.heads.save(output_dir or self.args.output_dir, state=heads)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with self.as_body() as whole:
            super()._load_from_checkpoint(resume_from_checkpoint, model=whole.body)
        self._load_heads(whole, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        with self.as_body() as whole:
            super()._load_best_model()
        self._load_heads(whole, str(self.state.best_model_checkpoint))

    @staticmethod
    def _load_heads(whole: WithHeads, folder: str) -> None:
        whole.heads.load_state_dict(type(whole.heads).load(folder).state_dict())
