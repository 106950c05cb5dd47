"""Doing the units that a journal lacks: in groups with a local model, each on its own with a server.

A local model computes groups of `batch_size` rows in lockstep. Padding changes the last digits of its numbers: a group is computed
whole though some of it is known, so that a run that was killed ends with the same bytes as one that was not.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from ...config.problem import ConfigError
from ...engines.open import AT_MOST
from ...storage.journal import Journal, JournalBroken
from .arguments import SynthArguments
from .calls import CallJournal
from .engines import EnginePool, PoolUsage
from .failures import FailureLog, RunStopped
from .progress import Progress
from .rows import Failure, Row


FATAL = (ConfigError, JournalBroken, RunStopped)  # of the run, not of the row
ROWS_A_CALL = 2  # [ours] rows in flight for each call that may be under way: while one is written down, another calls


class Worker(Protocol):
    """What does the units of a pipeline."""

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return one JSON value a row."""


@dataclass
class WorkLoop:
    """What doing units needs.

    Attributes:
        units: key -> row, in order.
        journal: takes results.
        failures: takes rows that fail.
        progress: shows both.
        worker: of the pipeline.
    """

    units: Mapping[str, Row]
    journal: Journal
    failures: FailureLog
    progress: Progress
    worker: Worker

    async def fail(self, key: str, error: Exception) -> None:
        """Record a unit that failed."""
        row = self.units[key]
        reason = f"{type(error).__name__}: {error}"
        self.progress.advance()
        await self.failures.add(Failure(row.id, row.file, row.number, reason, row.fields, key))


async def work_through(
    pipeline: ModuleType,
    arguments: SynthArguments,
    units: Mapping[str, Row],
    journal: Journal,
    failures: FailureLog,
) -> None:
    """Do the units that the journal lacks, and say what that took.

    Raises:
        RunStopped: too many rows fail, or no row can succeed.
        JournalBroken: the disk refuses a line.
    """
    known = sum(key in journal.results for key in units)
    calls = _open_calls(arguments)
    pool = EnginePool(arguments, calls)
    start = time.monotonic()
    try:
        worker = pipeline.Worker(arguments, pool)
        start = time.monotonic()
        progress = Progress(arguments.pipeline, total=len(units), known=known, pool=pool, failures=failures)
        with progress:
            job = WorkLoop(units, journal, failures, progress, worker)
            if pool.concurrent:
                await _row_by_row(job, ROWS_A_CALL * arguments.concurrency)
            else:
                await _group_by_group(job, arguments.batch_size)
    finally:
        try:
            await pool.close()
        finally:
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


async def _row_by_row(job: WorkLoop, in_flight: int) -> None:
    """Let so many rows be under way at a time; each takes the next one when it is done."""
    keys = iter([key for key in job.units if key not in job.journal.results])
    tasks = [asyncio.create_task(_work_on(job, keys)) for _ in range(in_flight)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work_on(job: WorkLoop, keys: Iterator[str]) -> None:
    for key in keys:
        row = job.units[key]
        try:
            (result,) = await job.worker.work([row])
        except FATAL:
            raise
        except Exception as error:  # recorded with its reason, and tried again on the next start
            await job.fail(key, error)
            continue
        await job.journal.commit(key, row.id, result)
        job.progress.advance()
        job.failures.add_done()


async def _group_by_group(job: WorkLoop, batch_size: int) -> None:
    """Work through groups that do not depend on what is finished."""
    keys = list(job.units)
    groups = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    for group in groups:
        missing = [key for key in group if key not in job.journal.results]
        if not missing:
            continue
        await asyncio.sleep(0)  # a local model never waits: here an interrupt is heard
        results = await _try_group(job, group)
        finished = [key for key in missing if not isinstance(results[key], Exception)]
        job.journal.add((key, job.units[key].id, results[key]) for key in finished)
        job.progress.advance(len(finished))
        for key in missing:
            if isinstance(results[key], Exception):
                await job.fail(key, results[key])
            else:
                job.failures.add_done()


async def _try_group(job: WorkLoop, group: Sequence[str]) -> dict[str, Any]:
    """Return the result, or the exception, of every unit: where a group fails, each row is tried alone."""
    try:
        return dict(zip(group, await job.worker.work([job.units[key] for key in group]), strict=True))
    except FATAL:
        raise
    except Exception as error:  # one bad row must not cost the others
        reason = f"{type(error).__name__}: {error}"
        job.progress.say(f"a group of {len(group)} rows failed, they are tried one by one: {reason}")
    results: dict[str, Any] = {}
    for key in group:
        try:
            (results[key],) = await job.worker.work([job.units[key]])
        except FATAL:
            raise
        except Exception as error:  # recorded with its reason, and tried again on the next start
            results[key] = error
    return results
