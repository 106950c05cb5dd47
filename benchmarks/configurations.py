"""Malformed configurations, each through the check that `train`, `synth` and `score` make before anything is imported.

    python benchmarks/configurations.py [--count 10000] [--seed 0] [--startup]

Each is refused with our message, or accepted; anything else is counted and shown. `--startup` measures what a wrong key,
`help` and `--help` take as real commands, in seconds of the processor (user and system, of the whole child process).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path


sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]
from shared.mutations import malformed  # noqa: E402
from shared.outcomes import host_folder, outcome  # noqa: E402


WRONG = "stage: grpo\nreward_func: [accuracy]\nmodel_name_or_path: nowhere\n"
COMMANDS = {
    "help": ["help"],
    "version": ["version"],
    "synth --help": ["synth", "--help"],
    "score --help": ["score", "--help"],
    "train, a wrong key": ["train", "wrong.yaml"],
    "synth, a wrong key": ["synth", "wrong.yaml", "pipeline=answer"],
    "score, a wrong key": ["score", "wrong.yaml"],
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--startup", action="store_true", help="measure commands instead")
    arguments = parser.parse_args()
    if arguments.startup:
        measure()
    else:
        try_all(arguments.seed, arguments.count)


def try_all(seed: int, count: int) -> None:
    """Try all configurations and print how they ended."""
    host = host_folder()
    counts: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, case in enumerate(malformed(seed, count)):
            began = time.process_time()
            ended, why = outcome(case, Path(folder), host)
            slowest = max(slowest, time.process_time() - began)
            counts[ended] += 1
            if ended not in ("accepted", "refused"):
                print(f"{number}: {case.command} {case.words}\n{case.content[:500]!r}\n{why}\n", file=sys.stderr)
    print(f"{count} configurations, seed {seed}: {dict(sorted(counts.items()))}; the slowest took {slowest:.2f} s")
    sys.exit(any(ended not in ("accepted", "refused") for ended in counts))


def measure() -> None:
    """Print the processor time of each command, the least of five."""
    script = Path(sys.executable).parent / "llamafactory-cli"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wrong.yaml").write_text(WRONG)
        for name, words in COMMANDS.items():
            seconds = min(child_seconds([str(script), *words], folder) for _ in range(5))
            print(f"{name:20} {seconds:.2f} s")


def child_seconds(command: list[str], folder: str) -> float:
    """Run a command; return the seconds of user and system that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
