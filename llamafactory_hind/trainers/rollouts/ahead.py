"""Rollouts of the next step, written by a server while the trainer learns from those of this step.

They come from weights that are one step old; the importance weight of `correction` stands for the difference. What is written ahead
is part of a checkpoint, since the weights that wrote it are gone after a restart.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines.interface import FinishReason
from ...storage.atomic import write_json
from ...storage.files import read_lines
from .batch import prompt_of
from .records import Rollout


Prompts = list[list[dict[str, Any]]]  # rows of the micro-batches of a step
KEPT = ("completion_ids", "texts", "finish_reasons", "sources", "sampling_logps")


@dataclass
class Pending:
    """What is written, or on its way.

    Attributes:
        step: optimiser steps before the one it is for.
        rows: ids of its rows.
        rollouts: when they are there.
    """

    step: int
    rows: list[str]
    rollouts: "Future[list[Rollout]]"


class AheadWriter:
    """Writes one step ahead, in a thread that ends with the process.

    Args:
        write: writes groups for rows, for a step.
        process: number of this process.
    """

    def __init__(self, write: Callable[[list[dict[str, Any]], int], list[Rollout]], *, process: int) -> None:
        """Write nothing yet."""
        self.write, self.process = write, process
        self._pending: Pending | None = None
        self._restored: dict[str, Any] | None = None
        self._source: Any = None
        self._next: Prompts = []

    def pull(self, iterator: Any, count: int) -> Prompts:
        """Return the rows of this step from the data loader, and look at those of the next one.

        An epoch's first step is not looked at from the epoch before: another iterator begins with it.
        """
        prompts = self._next if self._source is iterator else _pull(iterator, count)
        self._source, self._next = iterator, _pull(iterator, count) if prompts else []
        return prompts

    def start(self, step: int) -> None:
        """Write for the rows that come next, if there are any."""
        features = [feature for some in self._next for feature in some]
        if not features:
            return
        future: Future[list[Rollout]] = Future()

        def work() -> None:
            try:
                future.set_result(self.write(features, step))
            except BaseException as error:
                future.set_exception(error)

        self._pending = Pending(step, [_name(feature) for feature in features], future)
        threading.Thread(target=work, name="ahead", daemon=True).start()

    def has(self, step: int, features: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these rows were written for, or are just being."""
        rows = [_name(feature) for feature in features]
        restored = self._restored or {}
        return (step, rows) in (
            (self._pending.step, self._pending.rows) if self._pending is not None else None,
            (restored.get("step"), restored.get("rows")),
        )

    def take(self, features: Sequence[Mapping[str, Any]]) -> list[Rollout]:
        """Return what was written for these rows, waiting for it; see `has`."""
        pending, self._pending = self._pending, None
        restored, self._restored = self._restored, None
        if pending is not None:
            return pending.rollouts.result()
        assert restored is not None
        return [_rollout(*pair) for pair in zip(features, restored["rollouts"], strict=True)]

    def settle(self) -> None:
        """Wait until nothing is on its way: the server's weights may change afterwards."""
        if self._pending is not None:
            self._pending.rollouts.result()

    def save(self, folder: Path) -> None:
        """Keep in a checkpoint what is written, waiting for it; rows that took another's place are written again instead."""
        if self._pending is None:
            return
        rollouts = self._pending.rollouts.result()
        if [rollout.row_id for rollout in rollouts] != self._pending.rows:
            return
        entries = [{name: getattr(rollout, name) for name in KEPT} for rollout in rollouts]
        content = {"step": self._pending.step, "rows": self._pending.rows, "rollouts": entries}
        write_json(self._file(folder), content, indent=None)

    def restore(self, checkpoint: Path) -> None:
        """Read what `save` has kept."""
        file = self._file(checkpoint)
        if file.is_file():
            (self._restored,) = read_lines(file)

    def _file(self, folder: Path) -> Path:
        return folder / f"rollouts_ahead_{self.process}.json"


def _pull(iterator: Any, count: int) -> Prompts:
    return [batch.features for _, batch in zip(range(count), iterator, strict=False)]


def _name(feature: Mapping[str, Any]) -> str:
    return str(feature["row_id"])


def _rollout(feature: Mapping[str, Any], kept: Mapping[str, Any]) -> Rollout:
    logps = kept["sampling_logps"]
    return Rollout(
        feature=feature,
        prompt=prompt_of(feature),
        completion_ids=kept["completion_ids"],
        texts=kept["texts"],
        finish_reasons=[FinishReason(reason) for reason in kept["finish_reasons"]],
        sources=kept["sources"],
        sampling_logps=None if logps is None else [tuple(each) for each in logps],
    )
