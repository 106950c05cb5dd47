"""How quick the browser of completions is over 100,000 of them: first page, whole index, filters, sorts, text search, memory.

    python benchmarks/browse.py [--completions 100000] [--out DIR] [--joined]

Times are of the processor (`time.process_time`), so other programs change them little. `--joined` joins all steps but the last ones, as
checkpoints do. Limits of the design: first page under 1 s, any filter under 0.2 s, memory of the process under 300 MiB.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from llamafactory_hind.board.completions.page import Browser, View  # noqa: E402
from llamafactory_hind.board.completions.query import ORDERS, Query  # noqa: E402
from shared.completion_runs import large_run  # noqa: E402


A_STEP = 64
CASES = {
    "filter: source": {"query": Query(source="hinted")},
    "filter: reward range": {"query": Query(lowest=0.5)},
    "filter: gate open": {"query": Query(gate="open")},
    "filter: one row": {"query": Query(row="row-7")},
    "filter: cut": {"query": Query(finish="length")},
    **{f"order: {order}": {"query": Query(order=order)} for order in ORDERS},
    "page 500": {"page": 500},
    "list, lowest rewards": {"view": "list", "query": Query(order="reward: lowest")},
    "prompts by variance": {"view": "prompts"},
    "history of a row": {"view": "history", "query": Query(row="row-7")},
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds of the processor, and what the work returns."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def until_done(browser: Browser, view: View) -> Any:
    """Look until everything is read."""
    while (look := browser.look(view)).busy:
        pass
    return look


def measure(folder: Path) -> None:
    """Print a line for each case."""
    browser = Browser([folder])
    lines = [("first page", timed(lambda: browser.look(View())))]
    lines.append(("whole index, with a page after every slice", timed(lambda: until_done(browser, View()))))
    for name, chosen in CASES.items():
        view = View(**chosen)
        browser.look(view)  # row groups that pages share are read once
        lines.append((name, timed(partial(browser.look, view))))
    lines.append(("text search, first page", timed(lambda: browser.look(View(query=Query(text="#77"))))))
    lines.append(("text search, all", timed(lambda: until_done(browser, View(query=Query(text="#77"))))))
    for name, (seconds, look) in lines:
        print(f"{name:44} {seconds:7.3f} s   {look.status[:90]}")
    print(f"{'memory of the process':44} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MiB")


def main() -> None:
    """Write a run, unless it is there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="folder that keeps the run; a temporary one by default")
    parser.add_argument("--joined", action="store_true", help="join the steps, as checkpoints do")
    given = parser.parse_args()
    steps = -(-given.completions // A_STEP)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        run = folder / ("joined" if given.joined else "steps")
        if not (run / "completions").exists():
            large_run(run, steps=steps, a_step=A_STEP, joined=steps - 5 if given.joined else 0)
        measure(run)


if __name__ == "__main__":
    main()
