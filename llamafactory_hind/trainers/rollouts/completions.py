"""Every completion of a run on disk, and a few of them on screen.

`completions/<step>-<process>.parquet`, written in the background, whole or not at all; a resumed run writes the steps after its
checkpoint again, under the same names.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from ...formats.media.fields import MEDIA_FIELDS
from ...storage.atomic import write_by


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer

    from .records import Annotation, Rollout

SHOWN = 4  # [ours] completions in a table on screen
SHOWN_LETTERS = 400


class CompletionLog:
    """Writes the completions of each step to their own file.

    Args:
        folder: made when the first step is written.
        tokenizer: for the prompt's text.
        process: number of this process.
    """

    def __init__(self, folder: Path, *, tokenizer: "PreTrainedTokenizer", process: int) -> None:
        """Start the thread that writes when there is something to write."""
        self.folder, self.tokenizer, self.process = folder, tokenizer, process
        self._executor: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def put(self, annotation: "Annotation", *, step: int, epoch: float) -> None:
        """Hand over the completions of one step.

        Raises:
            OSError: an earlier step could not be written.
        """
        self._raise_failures(wait=False)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="completions")
        file = self.folder / f"{step:08d}-{self.process:05d}.parquet"
        self._pending.append(self._executor.submit(self._write, file, annotation, step, epoch))

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._raise_failures(wait=True)
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def _raise_failures(self, *, wait: bool) -> None:
        finished = [future for future in self._pending if wait or future.done()]
        self._pending = [future for future in self._pending if future not in finished]
        for future in finished:
            future.result()

    def _write(self, file: Path, annotation: "Annotation", step: int, epoch: float) -> None:
        entries = [
            {"step": step, "epoch": epoch, **entry}
            for part, kept in ((annotation, True), (annotation.discarded, False))
            if part is not None
            for entry in completion_entries(part, tokenizer=self.tokenizer, kept=kept)
        ]
        write_by(file, lambda temporary: pq.write_table(pa.Table.from_pylist(entries), temporary))


def completion_entries(
    annotation: "Annotation", *, tokenizer: "PreTrainedTokenizer", kept: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield a flat record a completion: prompt, media, text, tokens, source, each reward, advantage, all row columns.

    `kept` says whether it is learnt from.
    """
    scores = annotation.scores
    for number, rollout in enumerate(annotation.rollouts):
        shared = _prompt_entry(rollout, tokenizer)
        for sample, text in enumerate(rollout.texts):
            place = (number, sample)
            yield {
                **shared,
                "sample": sample,
                "source": rollout.sources[sample],
                "kept": kept,
                "completion": text,
                "tokens": len(rollout.completion_ids[sample]),
                "finish_reason": str(rollout.finish_reasons[sample]),
                "reward": _number(scores.total[place]),
                **{f"reward/{name}": _number(values[place]) for name, values in scores.each.items()},
                "advantage": _number(annotation.advantages[place]),
                **{f"stream/{name}": _number(values[place]) for name, values in annotation.streams.items()},
                "extra": json.dumps(
                    {name: values[number][sample] for name, values in scores.extra.items()},
                    ensure_ascii=False,
                    default=str,
                ),
            }


def _prompt_entry(rollout: "Rollout", tokenizer: "PreTrainedTokenizer") -> dict[str, Any]:
    return {
        "row_id": rollout.row_id,
        "prompt": tokenizer.decode(rollout.feature["prompt_input_ids"], skip_special_tokens=True),
        "media": json.dumps({kind: _names(rollout.feature.get(kind)) for kind in MEDIA_FIELDS}),
        "columns": rollout.feature.get("columns") or "{}",
    }


def _names(media: Any) -> list[str]:
    return [medium if isinstance(medium, str) else f"<{type(medium).__name__}>" for medium in media or []]


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number  # NaN: no such reward


def show_completions(annotation: "Annotation", *, step: int, console: Console | None = None) -> None:
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
        numbers = ["-" if _number(value) is None else f"{float(value):.3g}" for value in values]
        table.add_row(rollout.row_id, _plain(text), *numbers, f"{float(annotation.advantages[place]):+.2f}")
    (console or Console()).print(table)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)  # a completion may hold what rich would read as markup
