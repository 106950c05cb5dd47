"""Runs that are stopped by Ctrl-C and SIGTERM, and started again: one line each, and the end of a run that was never stopped."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from killed_runs import runs_of, wait


AFTER = 0.3  # seconds at most between an operation and the signal
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
TRACEBACK = "Traceback (most recent call last)"


def stops(work: Path, stage: str, seed: int) -> bool:
    """Stop a run once by each signal, a random while after a random operation on a file; report, return whether all is right."""
    from shared.killing import environment

    runs, drawn, record = runs_of(work, stage), random.Random(seed), work / "operations"
    runs.start(runs.whole, **environment(runs.whole, record=record)).finish()
    count, wrong, told = record.read_text().count("\n"), [], []
    for number, status in STATUS.items():
        out = work / number.name
        until = drawn.randrange(1, count)
        process = signalled(runs, out, until, number, drawn.uniform(0.0, AFTER))
        (ended,) = process.wait()
        said = process.log.read_text(errors="replace")
        told.append(f"{number.name} after {until} of {count} operations: status {ended}")
        if TRACEBACK in said:
            wrong.append(f"{told[-1]}, a traceback: {said.rpartition(TRACEBACK)[2][-300:]}")
        if ended not in (0, status):
            wrong.append(f"{told[-1]}, expected {status}: {said[-300:]}")
        runs.start(out).finish()
        if found := runs.differences(out):
            wrong.append(f"{told[-1]}, not bit-equal: {found[:3]}")
        shutil.rmtree(out)
    print(f"{stage}: {'; '.join(told)}")
    print(f"  wrong: {len(wrong)} {wrong}", flush=True)
    return not wrong


def signalled(runs: Any, out: Path, until: int, number: signal.Signals, pause: float) -> Any:
    """Start a run, and send it a signal a while after so many of its operations."""
    from shared.killing import environment

    record = out.with_suffix(".operations")
    process = runs.start(out, **environment(out, record=record))
    wait(process, unless=lambda: record.exists() and record.read_text().count("\n") >= until)
    time.sleep(pause)
    if process.running():
        os.kill(process._processes[0].pid, number)
    return process
