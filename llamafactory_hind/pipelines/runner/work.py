"""Doing the work items that a journal lacks: in groups with a local model, each on its own with a server.

A local model computes groups of `batch_size` rows in lockstep. Padding changes the last digits of its numbers: a group is computed
whole though some of it is known, so that a run that was killed ends with the same bytes as one that was not.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...config.problem import ConfigError
from ...engines.open import AT_MOST
from ...storage.journal import Journal, JournalBroken
from .arguments import SynthArguments
from .calls import CallJournal
from .engines import EnginePool, PoolUsage
from .failures import FailureLog, RunStopped
from .pipeline import Pipeline, Worker
from .progress import Progress
from .rows import Failure, Row


FATAL = (ConfigError, JournalBroken, RunStopped)  # of the run, not of the row
ROWS_A_CALL = 2  # [ours] rows in flight for each call that may be under way: while one is written down, another calls


@dataclass
class WorkLoop:
    """What doing the work needs.

    Attributes:
        items: key -> row, in order.
        journal: takes results.
        failures: takes rows that fail.
        progress: counts both.
        worker: of the pipeline.
    """

    items: Mapping[str, Row]
    journal: Journal
    failures: FailureLog
    progress: Progress
    worker: Worker

    async def fail(self, key: str, error: Exception) -> None:
        """Record a row that failed."""
        row = self.items[key]
        reason = f"{type(error).__name__}: {error}"
        self.progress.advance()
        await self.failures.add(Failure(row.id, row.file, row.number, reason, row.fields, key))


async def work_through(
    pipeline: Pipeline,
    arguments: SynthArguments,
    items: Mapping[str, Row],
    journal: Journal,
    failures: FailureLog,
) -> None:
    """Do the work items that the journal lacks, and say what that took.

    Raises:
        RunStopped: too many rows fail, or no row can succeed.
        JournalBroken: the disk refuses a line.
    """
    known = sum(key in journal.results for key in items)
    calls = _open_calls(arguments)
    pool = EnginePool(arguments, calls)
    start = time.monotonic()
    worker: Worker | None = None
    try:
        worker = pipeline.Worker(arguments, pool)
        start = time.monotonic()
        progress = Progress(arguments.pipeline, total=len(items), known=known, pool=pool, failures=failures)
        with progress:
            loop = WorkLoop(items, journal, failures, progress, worker)
            if pool.concurrent:
                await _row_by_row(loop, ROWS_A_CALL * arguments.concurrency)
            else:
                await _group_by_group(loop, arguments.batch_size)
    finally:
        try:
            await pool.close()
        finally:
            if (close := getattr(worker, "close", None)) is not None:
                close()
            if calls is not None:
                calls.close()
        print(summarize(pool.usage, failures, time.monotonic() - start))


def _open_calls(arguments: SynthArguments) -> CallJournal | None:
    if not AT_MOST[arguments.engine].concurrent:
        return None
    return CallJournal(arguments.beside_output(".calls.jsonl"), arguments.host_settings)


def summarize(usage: PoolUsage, failures: FailureLog, seconds: float) -> str:
    """Return what a run did, in a line, and one more for each model of a server."""
    rows = failures.finished
    reused = f", {usage.reused_calls} calls reused" if usage.reused_calls else ""
    cost = "" if usage.cost is None else f", cost {usage.cost:.4g}"
    line = (
        f"{rows} rows in {seconds:.1f} s ({rows / max(seconds, 1e-9):.1f} rows/s), {len(failures.failed)} failed, "
        f"{usage.tokens} tokens written{reused}{cost}."
    )
    return "\n".join([line, *usage.reports])


async def _row_by_row(loop: WorkLoop, in_flight: int) -> None:
    """Let so many rows be under way at a time; each takes the next one when it is done."""
    keys = iter([key for key in loop.items if key not in loop.journal.results])
    tasks = [asyncio.create_task(_work_on(loop, keys)) for _ in range(in_flight)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work_on(loop: WorkLoop, keys: Iterator[str]) -> None:
    for key in keys:
        row = loop.items[key]
        try:
            (result,) = await loop.worker.work([row])
        except FATAL:
            raise
        except Exception as error:  # recorded with its reason, and tried again on the next start
            await loop.fail(key, error)
            continue
        await loop.journal.commit(key, row.id, result)
        loop.progress.advance()
        loop.failures.add_done()


async def _group_by_group(loop: WorkLoop, batch_size: int) -> None:
    """Work through groups that do not depend on what is finished."""
    keys = list(loop.items)
    groups = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    for group in groups:
        missing = [key for key in group if key not in loop.journal.results]
        if not missing:
            continue
        await asyncio.sleep(0)  # a local model never waits: here an interrupt is heard
        results = await _try_group(loop, group)
        finished = [key for key in missing if not isinstance(results[key], Exception)]
        loop.journal.add((key, loop.items[key].id, results[key]) for key in finished)
        loop.progress.advance(len(finished))
        for key in missing:
            if isinstance(results[key], Exception):
                await loop.fail(key, results[key])
            else:
                loop.failures.add_done()


async def _try_group(loop: WorkLoop, group: Sequence[str]) -> dict[str, Any]:
    """Return the result, or the exception, of every work item: where a group fails, each row is tried alone."""
    try:
        return dict(zip(group, await loop.worker.work([loop.items[key] for key in group]), strict=True))
    except FATAL:
        raise
    except Exception as error:  # one bad row must not cost the others
        reason = f"{type(error).__name__}: {error}"
        loop.progress.say(f"a group of {len(group)} rows failed together, each is now tried alone: {reason}")
    results: dict[str, Any] = {}
    for key in group:
        try:
            (results[key],) = await loop.worker.work([loop.items[key]])
        except FATAL:
            raise
        except Exception as error:  # recorded with its reason, and tried again on the next start
            results[key] = error
    return results
