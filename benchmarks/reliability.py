"""What is lost when runs are killed: nothing. Each measurement is one command, and prints its figures.

    python benchmarks/reliability.py saves [--stage grpo|kepo] [--every 1]
    python benchmarks/reliability.py kills [--stage grpo|kepo] [--kills 20]
    python benchmarks/reliability.py flat [--steps 2000]
    python benchmarks/reliability.py files [--files 10000]
    python benchmarks/reliability.py synth [--rows 20000] [--kills 20]

`saves` kills a run (SIGKILL) before and in the middle of the file operations of a checkpoint and of the final save; `kills` at random
moments; both start it again and compare weights and losses bit by bit with a run that was never killed. `flat` watches memory,
descriptors and threads. `files` reads files of rows that were damaged at random. `synth` is `benchmarks/synth.py`: a fifth of all
calls goes wrong.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
GRPO = {"num_iterations": 2, "max_steps": 3}
KEPO = {"stage": "kepo", "dataset": "pairs", "max_steps": 3}
STAGES = {"grpo": GRPO, "kepo": KEPO}
WATCHED_FROM = 0.25  # [ours] share of the steps after which nothing may grow: caches are full by then


def write_pairs(folder: Path) -> None:
    """Write sixteen ranking rows of text."""
    rows = [
        {"id": f"r{i}", "question": f"What is told of thing {i}?", "answer": "moss", "chosen": "it eats moss"}
        | {"rejected": f"it fears bells {i}"}
        for i in range(16)
    ]
    (folder / "pairs.json").write_text(json.dumps(rows))
    file = folder / "dataset_info.json"
    entry = {"file_name": "pairs.json", "formatting": "hindsight", "ranking": True, "target": "knowledge"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pairs": entry}))


class Runs:
    """Runs of one stage over a small world; each start is a process."""

    def __init__(self, work: Path, stage: str, **changes: Any) -> None:
        """Write the rows."""
        from conftest import build_small_world

        from shared.stages import BASE, places, write_prompts
        from shared.store import kept

        prompts = work / "prompts"
        prompts.mkdir()
        world = kept("world", build_small_world)
        write_prompts(world, prompts)
        write_pairs(prompts)
        saving = {"save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "cosine"}
        self.settings = {**BASE, **places(world, prompts, work / "whole"), **saving, **STAGES[stage], **changes}
        if stage == "kepo":
            for key in ("num_generations", "max_new_tokens", "reward_funcs"):
                self.settings.pop(key)
        self.work = work

    def start(self, out: Path, **environment: str) -> Any:
        """Start a run into a folder."""
        from shared.killing import ARMED
        from shared.stages import TRAIN, written
        from shared.warm import Processes

        words = [str(written({**self.settings, "output_dir": str(out)}, self.work / "run"))]
        return Processes(ARMED + TRAIN, words, out.with_suffix(".log"), **environment)

    def differences(self, out: Path) -> list[str]:
        """Return what differs from the run that was never killed."""
        import torch
        from safetensors.torch import load_file

        from shared.stages import history

        whole = self.work / "whole"
        mine, expected = load_file(out / "model.safetensors"), load_file(whole / "model.safetensors")
        wrong = [name for name, tensor in expected.items() if not torch.equal(mine[name], tensor)]
        return wrong + (["losses"] if history(out) != history(whole) else [])


def saves(work: Path, stage: str, every: int) -> bool:
    """Kill at the operations of the second save and of the final one; report and return whether all ended alike."""
    from shared.killing import environment

    runs, record = Runs(work, stage), work / "operations"
    runs.start(work / "whole", **environment(work / "whole", record=record)).finish()
    operations = [name for name in record.read_text().splitlines() if "checkpoint-2" in name or "final" in name]
    points = [(name, moment) for name in operations for moment in ("before", "middle")][::every]
    resumed: Counter[str] = Counter()
    wrong = []
    for number, (name, moment) in enumerate(points):
        out = work / f"k{number}"
        process = runs.start(out, **environment(out, at=name, moment=moment))
        while process.running():
            time.sleep(0.02)
        again = runs.start(out).finish()
        place = again.partition("Resuming training from ")[2].partition(".\n")[0].rpartition("/")[2]
        resumed[place.split()[0].rstrip(".") if place else "the beginning"] += 1
        if found := runs.differences(out):
            wrong.append(f"{name}, {moment}: {found[:3]}")
        shutil.rmtree(out)
    print(f"{stage}: killed at {len(points)} of {2 * len(operations)} points of a save; went on from {dict(resumed)}")
    print(f"  not bit-equal to the run that was never killed: {len(wrong)} {wrong[:5]}")
    return not wrong


def kills(work: Path, stage: str, count: int) -> bool:
    """Kill at random moments; report and return whether all ended alike."""
    runs, drawn = Runs(work, stage), random.Random(0)
    began = time.perf_counter()
    runs.start(work / "whole").finish()
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    runs.start(work / "again").finish()  # the first one waited for the process that imports
    seconds = min(seconds, time.perf_counter() - began)
    moments, wrong = [], []
    for number in range(count):
        out = work / f"k{number}"
        process = runs.start(out)
        moments.append(drawn.uniform(0.1, 1.0) * seconds)
        time.sleep(moments[-1])
        process.kill()
        runs.start(out).finish()
        if found := runs.differences(out):
            wrong.append(f"{moments[-1]:.2f} s: {found[:3]}")
        shutil.rmtree(out)
    print(
        f"{stage}: killed {count} times, {min(moments):.1f} to {max(moments):.1f} s after the start of {seconds:.1f}"
    )
    print(f"  not bit-equal to the run that was never killed: {len(wrong)} {wrong[:5]}")
    return not wrong


def flat(work: Path, steps: int) -> bool:
    """Watch a long run; report and return whether memory, descriptors and threads stay."""
    runs = Runs(work, "grpo", max_steps=steps, save_steps=max(1, steps // 10), save_total_limit=1, logging_steps=10)
    process = runs.start(work / "long")
    number, seen = process._processes[0].pid, []
    log = work / "long" / "trainer_log.jsonl"
    while process.running():
        time.sleep(0.5)
        try:
            done = json.loads(log.read_text().splitlines()[-1])["current_steps"]
            status = Path(f"/proc/{number}/status").read_text()
            resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
            threads = int(status.partition("Threads:")[2].split()[0])
            seen.append((done, resident, threads, len(os.listdir(f"/proc/{number}/fd"))))
        except (OSError, ValueError, IndexError, KeyError):
            continue
    process.finish()
    later = [entry for entry in seen if WATCHED_FROM * steps <= entry[0] < steps]
    if not later:
        print("the run was too short to watch")
        return False
    first, last = later[0], later[-1]
    print(f"grpo, {steps} steps; from step {first[0]} to {last[0]}:")
    print(
        f"  memory {first[1]:.0f} -> {last[1]:.0f} MB, threads {first[2]} -> {last[2]}, descriptors {first[3]} -> {last[3]}"
    )
    return last[1] < 1.05 * first[1] and last[2] <= first[2] and last[3] <= first[3] + 2


def damaged_files(work: Path, count: int) -> bool:
    """Read files that were damaged at random."""
    script = ROOT / "tests" / "storage" / "rows_fuzz.py"
    run = subprocess.run(
        [sys.executable, str(script), str(work), "1", str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(f"{count} damaged files: exit status {run.returncode}, {run.stdout.strip()}")
    return run.returncode == 0


def main() -> None:
    """Measure what the words ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["saves", "kills", "flat", "files", "synth"])
    parser.add_argument("--stage", choices=[*STAGES], default="grpo")
    parser.add_argument("--every", type=int, default=1, help="take every n-th point only")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    if given.what == "synth":
        words = ["--rows", str(given.rows), "--kills", str(given.kills)]
        raise SystemExit(subprocess.call([sys.executable, str(ROOT / "benchmarks" / "synth.py"), *words]))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        good = {
            "saves": lambda: saves(work, given.stage, given.every),
            "kills": lambda: kills(work, given.stage, given.kills),
            "flat": lambda: flat(work, given.steps),
            "files": lambda: damaged_files(work, given.files),
        }[given.what]()
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
