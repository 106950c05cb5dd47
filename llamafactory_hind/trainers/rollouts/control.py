"""Numbers of a method that follow what is measured in each step, and that a resumed run must have as they were."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from accelerate.utils import gather_object
from llamafactory.extras import logging

from ...storage.atomic import write_json


if TYPE_CHECKING:
    from .batch import RolloutBatch
    from .log import RolloutLog

logger = logging.get_logger("llamafactory.hind.trainers.rollouts.control")
FILE = "controls.json"


class Control(Protocol):
    """One such number.

    Attributes:
        name: of its state in a checkpoint, and of its value in the log.
        value: what counts in the step that is computed.
    """

    name: str

    @property
    def value(self) -> float:
        """What counts in this step."""

    def measure(self, batch: "RolloutBatch") -> tuple[float, float]:
        """Return a sum over a micro-batch whose token streams are computed, and the number of things in it."""

    def follow(self, mean: float) -> None:
        """Take the mean over all micro-batches and processes of a step that is done."""

    def state(self) -> dict[str, float | None]:
        """Return what a checkpoint must hold."""

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Go on from what `state` returned."""


class Controls:
    """The controls of a run: measured in each micro-batch, moved after each optimiser step.

    Args:
        controls: of the method.
        world_size: processes of the run; all take the same mean.
    """

    def __init__(self, controls: Sequence[Control], world_size: int) -> None:
        """Nothing is measured yet."""
        self.controls, self.world_size = controls, world_size
        self._sums = [(0.0, 0.0)] * len(controls)
        self._seen = 0

    def measure(self, batch: "RolloutBatch", log: "RolloutLog", *, share: float) -> None:
        """Add a micro-batch; `share` is its part of the step, for the log."""
        for place, control in enumerate(self.controls):
            total, count = control.measure(batch)
            before = self._sums[place]
            self._sums[place] = (before[0] + total, before[1] + count)
            log.averages.add(control.name, control.value * share, share)

    def done(self, micro_batches: int) -> None:
        """Count a micro-batch whose gradient is there; after the last one of a step every control follows."""
        self._seen += 1
        if not self.controls or self._seen < micro_batches:
            return
        self._seen = 0
        everyone = gather_object([self._sums]) if self.world_size > 1 else [self._sums]
        for place, control in enumerate(self.controls):
            total, count = (sum(one[place][part] for one in everyone) for part in (0, 1))
            if count:
                control.follow(total / count)
        self._sums = [(0.0, 0.0)] * len(self.controls)

    def save(self, folder: Path) -> None:
        """Write their states; they are the same on every process, so one writes."""
        if self.controls:
            write_json(folder / FILE, {control.name: control.state() for control in self.controls})

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; a control that a checkpoint does not know starts anew, with a warning."""
        if not self.controls:
            return
        file = folder / FILE
        states = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for control in self.controls:
            if control.name in states:
                control.restore(states[control.name])
            else:
                logger.warning_rank0(
                    f"{file} has no `{control.name}`: it starts anew, as the run did not have it before."
                )
