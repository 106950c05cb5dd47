"""What our `.pth` costs a Python process that never imports LLaMA-Factory.

    python benchmarks/startup.py [--pairs 200]

One bare interpreter, started with and without our `.pth` in its site-packages, in turn, so that drift of the machine hits
both; the difference is taken pair by pair, in wall-clock and in processor time (which other work on the machine disturbs
less). A third interpreter has a `.pth` that does nothing, the least any `.pth` costs.
"""

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path

from live_table import growing_table


ROOT = Path(__file__).resolve().parent.parent
PTH = ROOT / "llamafactory_hind" / "attach" / "llamafactory_hind_attach.pth"
GOAL_MS = 1.0
# As an installed package runs: its bytecode is cached.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def interpreters(folder: Path) -> dict[str, Path]:
    """Make three interpreters that differ in one file; the package's place is on the path of all."""
    lines = {"without": "", "empty .pth": "import sys\n", "with": PTH.read_text()}
    pythons = {}
    for name, line in lines.items():
        place = folder / name.replace(" ", "")
        venv.create(place, with_pip=False, symlinks=True)
        site = next(place.glob("lib/python*/site-packages"))
        (site / "_where.pth").write_text(f"{ROOT}\n")
        if line:
            (site / PTH.name).write_text(line)
        pythons[name] = place / "bin" / "python"
    return pythons


def milliseconds(python: Path) -> tuple[float, float]:
    """Time one `python -c pass`: wall-clock and processor time."""
    start = time.perf_counter()
    process = subprocess.Popen([python, "-c", "pass"], env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{python} -c pass: got exit status {process.returncode}, expected 0.")
    return wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        pythons = interpreters(Path(folder))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in pythons}
        for repeat in range(-5, pairs):
            for name in random.sample(list(pythons), len(pythons)):
                taken = milliseconds(pythons[name])
                if repeat >= 0:  # the first rounds compile and fill caches
                    times[name].append(taken)
    with growing_table(f"median of {pairs}", "wall clock, ms", "processor, ms") as add:
        for name, values in times.items():
            add(name, *(f"{statistics.median(column):.3f}" for column in zip(*values, strict=True)))
        for name in ("empty .pth", "with"):
            pairs_of = list(zip(times[name], times["without"], strict=True))
            add(f"{name} costs", *(f"{statistics.median(a[k] - b[k] for a, b in pairs_of):.3f}" for k in (0, 1)))
    print(f"What a file costs is the median of the paired differences; goal for our .pth: under {GOAL_MS} ms")


if __name__ == "__main__":
    main()
