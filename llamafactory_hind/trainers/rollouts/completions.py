"""Every completion of a run on disk, and a few of them on screen.

`completions/<step>-<process>.parquet`, written in the background, whole or not at all; a resumed run writes the steps after its
checkpoint again, under the same names. At a checkpoint the steps up to it are joined (`storage.completion_files`).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from ...storage.atomic import write_by
from ...storage.completion_files import evaluation_file, join_steps, step_file, table_of, write_run_record
from .entries import TRAINING, EntryMaker, number_of
from .records import Annotation


if TYPE_CHECKING:
    from .records import Rollout, Scores

SHOWN = 4  # [ours] completions in a table on screen
SHOWN_LETTERS = 400


@dataclass
class CompletionLog:
    """Writes the completions of each step to their own file, and those of each evaluation.

    Attributes:
        folder: made when the first step is written.
        entries: makes records of completions.
        process: number of this process.
        record: what a reader must know of the run; the first process writes it before its first completions.
    """

    folder: Path
    entries: EntryMaker
    process: int
    record: Mapping[str, Any] = field(default_factory=dict)
    _executor: ThreadPoolExecutor | None = field(default=None, init=False)
    _pending: list[Future[Any]] = field(default_factory=list, init=False)
    _evaluated: list[dict[str, Any]] = field(default_factory=list, init=False)

    def put(self, annotation: Annotation, *, step: int, epoch: float) -> None:
        """Hand over the completions of one step.

        Raises:
            OSError: an earlier step could not be written.
        """
        self._raise_failures(wait=False)
        self._submit(self._write, step_file(self.folder, step, self.process), annotation, step, epoch)

    def evaluated(self, rollouts: "list[Rollout]", scores: "Scores") -> None:
        """Keep the completions of a batch of an evaluation until `put_evaluation`."""
        nobody = torch.full_like(scores.total, float("nan"))  # compared with nobody
        group = len({entry["group"] for entry in self._evaluated})
        annotation = Annotation(rollouts, scores, nobody)
        made = []
        for number, rollout in enumerate(rollouts):
            if not rollout.stands_in:  # nobody asked for it
                part = annotation.part(slice(number, number + 1))
                made += self.entries.of(part, kept=False, first_group=group + number)
        self._evaluated += made

    def put_evaluation(self, split: str, *, step: int, epoch: float) -> None:
        """Write the completions of an evaluation.

        Args:
            split: `eval`, or `eval_` and the name of the set.
            step: that was taken before it.
            epoch: likewise.

        Raises:
            WriteRefused: the disk refused.
        """
        entries, self._evaluated = self._evaluated, []
        if not entries:
            return
        self._write_record()
        file = evaluation_file(self.folder, step, self.process, split.removeprefix("eval").removeprefix("_"))
        self._write_entries(file, [{"step": step, "epoch": epoch, **entry, "split": split} for entry in entries])

    def join(self, last: int) -> None:
        """Join the steps up to `last`, in the background; every process has called `flush`."""
        self._submit(join_steps, self.folder, last)

    def flush(self) -> None:
        """Wait until everything is on disk."""
        self._raise_failures(wait=True)

    def close(self) -> None:
        """Wait until everything is on disk, and end the thread."""
        self.flush()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="completions")
        self._pending.append(self._executor.submit(work, *arguments))

    def _raise_failures(self, *, wait: bool) -> None:
        finished = [future for future in self._pending if wait or future.done()]
        self._pending = [future for future in self._pending if future not in finished]
        for future in finished:
            future.result()

    def _write_record(self) -> None:
        if self.record and self.process == 0:
            write_run_record(self.folder, self.record)
            self.record = {}

    def _write(self, file: Path, annotation: Annotation, step: int, epoch: float) -> None:
        self._write_record()
        entries = [
            {"step": step, "epoch": epoch, **entry, "split": TRAINING}
            for part, kept in ((annotation, True), (annotation.discarded, False))
            if part is not None
            for entry in self.entries.of(part, kept=kept)
        ]
        self._write_entries(file, entries)

    def _write_entries(self, file: Path, entries: list[dict[str, Any]]) -> None:
        write_by(file, lambda temporary: pq.write_table(table_of(entries), temporary))


def show_completions(annotation: Annotation, *, step: int, console: Console | None = None) -> None:
    """Print some completions of the first groups as a table."""
    table = Table(title=f"completions of step {step}", show_lines=True)
    for title in ("row", "completion", *annotation.scores.each, "reward", "advantage"):
        table.add_column(title, overflow="fold")
    picked = [
        (number, sample)
        for sample in range(len(annotation.rollouts[0].texts))
        for number in range(len(annotation.rollouts))
    ][:SHOWN]
    for number, sample in sorted(picked):
        rollout, place = annotation.rollouts[number], (number, sample)
        text = rollout.texts[sample]
        text = text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS] + " ..."
        values = [*(values[place] for values in annotation.scores.each.values()), annotation.scores.total[place]]
        numbers = ["-" if number_of(value) is None else f"{float(value):.3g}" for value in values]
        table.add_row(rollout.row_id, _plain(text), *numbers, f"{float(annotation.advantages[place]):+.2f}")
    (console or Console()).print(table)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)  # a completion may hold what rich would read as markup
