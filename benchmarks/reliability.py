"""What is lost when runs are killed, disks are full, and rows are malformed: nothing. Each measurement is one command.

    python benchmarks/reliability.py saves [--stage STAGE] [--every 1]
    python benchmarks/reliability.py kills [--stage STAGE,STAGE] [--kills 20] [--seed 0]
    python benchmarks/reliability.py stops [--stage STAGE,STAGE] [--seed 0]
    python benchmarks/reliability.py flat [--steps 2000]
    python benchmarks/reliability.py files [--files 10000]
    python benchmarks/reliability.py rows [--rows 10000] [--seed 0] [--only FORMAT]
    python benchmarks/reliability.py keys
    python benchmarks/reliability.py children [--only killed]
    python benchmarks/reliability.py bombs
    python benchmarks/reliability.py disk [--only synth]
    python benchmarks/reliability.py synth [--rows 20000] [--kills 20]

`saves` kills a run (SIGKILL) before and in the middle of the file operations of a checkpoint and of the final save; `kills` at random
moments, and while files of every kind are written; both start it again and compare weights, losses and completions bit by bit with a
run that was never killed. `stops` does so with Ctrl-C and SIGTERM. `flat` watches memory, descriptors and threads. `files` reads files
of rows that were damaged at random, `rows` files of rows that are malformed. `keys` looks for API keys in all that runs leave,
`children` for processes. `bombs` reads small files that unpack to very large ones. `disk` fills the disk below each kind of file.
`synth` is `benchmarks/synth.py`: a fifth of all calls goes wrong. Each ends with status 0 if nothing was lost.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
WATCHED_FROM = 0.25  # [ours] share of the steps after which nothing may grow: caches are full by then


def flat(work: Path, steps: int) -> bool:
    """Watch a long run; report and return whether memory, descriptors and threads stay."""
    from killed_runs import Runs

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


def parse() -> argparse.Namespace:
    """Return what the words ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measurements = ("saves", "kills", "stops", "flat", "files", "rows", "keys", "children", "bombs", "disk", "synth")
    parser.add_argument("what", choices=measurements)
    parser.add_argument(
        "--stage",
        default="grpo",
        help="a stage, or a pipeline of `synth`; for `kills` and `stops` several, separated by commas",
    )
    parser.add_argument("--every", type=int, default=1, help="take every n-th point only")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=None, help="20,000 for `synth`, 10,000 for `rows`")
    parser.add_argument(
        "--only",
        default=None,
        help="`rows` of this format; `children` of runs that are `ended`, `failed` or `killed`; `disk` below this kind of file",
    )
    return parser.parse_args()


def each_stage(given: argparse.Namespace, work: Path) -> bool:
    """Kill or stop runs of each stage; return whether all of them ended as they should."""
    from killed_runs import kills
    from stopped_runs import stops

    good = True
    for stage in given.stage.split(","):
        (work / stage).mkdir()
        if given.what == "kills":
            good = kills(work / stage, stage, given.kills, given.seed) and good
        else:
            good = stops(work / stage, stage, given.seed) and good
    return good


def measure(given: argparse.Namespace, work: Path) -> bool:
    """Measure what is asked for; return whether nothing was lost."""
    if given.what == "saves":
        from killed_runs import saves

        return saves(work, given.stage, given.every)
    if given.what in ("kills", "stops"):
        return each_stage(given, work)
    if given.what == "rows":
        from malformed_rows import malformed_rows

        return malformed_rows(work, given.rows or 10_000, given.seed, given.only)
    if given.what in ("flat", "files"):
        return flat(work, given.steps) if given.what == "flat" else damaged_files(work, given.files)
    if given.what == "keys":
        from api_keys import api_keys

        return api_keys(work)
    if given.what == "children":
        from child_processes import child_processes

        return child_processes(work, given.only)
    if given.what == "bombs":
        from bombs import bombs

        return bombs(work)
    from full_disk import full_disk

    return full_disk(work, given.only)


def main() -> None:
    """Measure, and fail if something was lost."""
    given = parse()
    if given.what == "synth":
        words = ["--rows", str(given.rows or 20_000), "--kills", str(given.kills)]
        raise SystemExit(subprocess.call([sys.executable, str(ROOT / "benchmarks" / "synth.py"), *words]))
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(not measure(given, Path(folder)))


if __name__ == "__main__":
    main()
