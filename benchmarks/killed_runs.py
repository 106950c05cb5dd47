"""Runs that are killed (SIGKILL) and started again, and whether they end as one that was never killed, bit by bit."""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from killed_stages import settings_of, write_all
from killed_synth import PIPELINES, SynthRuns


AFTER = 0.3  # seconds at most between an operation and the kill


class Runs:
    """Runs of one stage over a small world; each start is a process.

    Attributes:
        whole: folder of the run that is never killed.
    """

    def __init__(self, work: Path, stage: str, **changes: Any) -> None:
        """Write the rows."""
        from conftest import build_small_world

        from shared.store import kept

        folder = work / "rows"
        folder.mkdir()
        world = kept("world", build_small_world)
        write_all(world, folder)
        self.settings = {**settings_of(stage, world, folder), **changes}
        self.work, self.whole = work, work / "whole"

    def start(self, out: Path, **environment: str) -> Any:
        """Start a run into a folder."""
        from shared.killing import ARMED
        from shared.stages import TRAIN, written
        from shared.warm import Processes

        words = [str(written({**self.settings, "output_dir": str(out)}, self.work / "run"))]
        return Processes(ARMED + TRAIN, words, out.with_suffix(".log"), **environment)

    def differences(self, out: Path) -> list[str]:
        """Return what differs from the run that was never killed: weights, losses, completions."""
        import torch
        from safetensors.torch import load_file

        from shared.stages import history

        wrong = []
        for file in sorted(self.whole.glob("*.safetensors")):
            mine, expected = load_file(out / file.name), load_file(file)
            wrong += [name for name, tensor in expected.items() if not torch.equal(mine[name], tensor)]
        if history(out) != history(self.whole):
            wrong.append("losses")
        return wrong + (["completions"] if completions(out) != completions(self.whole) else [])


def completions(out: Path) -> Any:
    """Return the log of completions as records; None where the stage writes none."""
    import pyarrow.parquet as pq

    if not (out / "completions").is_dir():
        return None
    files = sorted(file for file in (out / "completions").glob("*.parquet") if not file.name.startswith("."))
    return [pq.read_table(file).to_pylist() for file in files]


def runs_of(work: Path, stage: str) -> Any:
    """Return the runs of a stage, or of a pipeline of `synth`."""
    return SynthRuns(work, stage) if stage in PIPELINES else Runs(work, stage)


def wait(process: Any, *, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait until a process ends or something is so."""
    while process.running() and not unless():
        time.sleep(0.02)


def saves(work: Path, stage: str, every: int) -> bool:
    """Kill at the operations of the second save and of the final one; report and return whether all ended alike."""
    from shared.killing import environment

    runs, record = runs_of(work, stage), work / "operations"
    runs.start(runs.whole, **environment(runs.whole, record=record)).finish()
    operations = [name for name in record.read_text().splitlines() if "checkpoint-2" in name or "final" in name]
    points = [(name, moment) for name in operations for moment in ("before", "middle")][::every]
    resumed: Counter[str] = Counter()
    wrong = []
    for number, (name, moment) in enumerate(points):
        out = work / f"k{number}"
        wait(runs.start(out, **environment(out, at=name, moment=moment)))
        again = runs.start(out).finish()
        place = again.partition("Resuming training from ")[2].partition(".\n")[0].rpartition("/")[2]
        resumed[place.split()[0].rstrip(".") if place else "the beginning"] += 1
        if found := runs.differences(out):
            wrong.append(f"{name}, {moment}: {found[:3]}")
        shutil.rmtree(out)
    print(f"{stage}: killed at {len(points)} of {2 * len(operations)} points of a save; went on from {dict(resumed)}")
    print(f"  not bit-equal to the run that was never killed: {len(wrong)} {wrong[:5]}")
    return not wrong


def kills(work: Path, stage: str, count: int, seed: int) -> bool:
    """Kill at random: every second time at a moment, else at an operation on a file; report, return whether all ended alike."""
    from shared.killing import environment

    runs, drawn, record = runs_of(work, stage), random.Random(seed), work / "operations"
    runs.start(runs.whole, **environment(runs.whole, record=record)).finish()
    began = time.perf_counter()
    runs.start(work / "again").finish()  # the first one waited for the process that imports
    seconds = time.perf_counter() - began
    if wrong := runs.differences(work / "again"):
        print(f"{stage}: two runs that were not killed differ: {wrong[:3]}")
        return False
    operations = record.read_text().splitlines()
    killed: Counter[str] = Counter()
    for number in range(count):
        out = work / f"k{number}"
        if number % 2 == 0:
            told = kind = "random moments"
            process = start_and_kill(runs, out, operations, drawn)
        else:
            name, moment = by_kind(operations, number // 2, drawn), drawn.choice(["before", "middle"])
            told, kind = f"{name}, {moment}", f"writing {kind_of(name)}"
            process = runs.start(out, **environment(out, at=name, moment=moment))
            wait(process)
        killed[kind if process.wait() == [-signal.SIGKILL] else "ended before"] += 1
        runs.start(out).finish()
        if found := runs.differences(out):
            wrong.append(f"{told}: {found[:3]}")
        shutil.rmtree(out)
    print(f"{stage}: {count} starts, each of about {seconds:.0f} s, killed: {dict(killed)}")
    print(f"  not bit-equal to the run that was never killed: {len(wrong)} {wrong[:5]}", flush=True)
    return not wrong


def start_and_kill(runs: Any, out: Path, operations: list[str], drawn: random.Random) -> Any:
    """Start a run, and kill it a random while after a random one of its operations: a busy machine shifts times, not these."""
    from shared.killing import environment

    record = out.with_suffix(".operations")
    process, until = runs.start(out, **environment(out, record=record)), drawn.randrange(len(operations))
    wait(process, unless=lambda: record.exists() and record.read_text().count("\n") >= until)
    time.sleep(drawn.uniform(0.0, AFTER))
    process.kill()
    return process


KINDS = {
    "checkpoint": ("checkpoint-", ".saving", ".removing"),
    "completions": ("completions",),
    "cache": ("ref_logps", "texts_", "hints", "cache"),
    "journal": ("journal", "calls"),
}


def kind_of(operation: str) -> str:
    """Return what an operation writes."""
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), "other files")


def by_kind(operations: list[str], turn: int, drawn: random.Random) -> str:
    """Return a random operation; kinds take turns, as a checkpoint has many more operations than a cache."""
    kinds = sorted({kind_of(name) for name in operations})
    return drawn.choice([name for name in operations if kind_of(name) == kinds[turn % len(kinds)]])
