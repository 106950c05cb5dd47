"""What `llamafactory-cli synth` adds to the time that a server takes, and what it loses when things go wrong: nothing.

    python benchmarks/synth.py [--rows 20000] [--runs 3] [--kills 20] [--quick]

A server process on the last processor answers after 50 ms, 64 calls at a time; the client has the first processor. One call a row
(`pipeline: answer` without reasoning and knowledge), so the ideal is `rows * latency / concurrency` seconds. Then the same with
faults in a fifth of all calls, and runs that are killed (SIGKILL) at a random moment and started again.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen


ROOT = Path(__file__).resolve().parent.parent
LATENCY = 0.05
CONCURRENCY = 64
FAULTS = 0.2
KINDS = "error,busy,hang,cut,empty,schema"
GOAL_SHARE = 0.95
GOAL_GROWTH_MB = 100
BARE = """
import asyncio, json, sys, time, aiohttp
url, rows, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    numbers = iter(range(rows))
    async def post(session):
        for row in numbers:
            question = {"role": "user", "content": f"How much is {row} and {row}?\\nAnswer briefly."}
            body = {"model": "test", "max_tokens": 16, "temperature": 0.0, "logprobs": True, "messages": [question]}
            async with session.post(url, data=json.dumps(body), headers={"Content-Type": "application/json"}) as reply:
                json.loads(await reply.read())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.perf_counter()
        await asyncio.gather(*(post(session) for _ in range(width)))
        print(time.perf_counter() - start)
asyncio.run(main())
"""  # the least a Python client does: nothing is kept
COMMAND = "import sys; from llamafactory_hind.pipelines.runner.run import run_synth; run_synth(sys.argv[1:])"
TOLD = re.compile(r"^(\d+) rows in ([\d.]+) s \(.* (\d+) failed", re.MULTILINE)


@dataclass
class Measured:
    """One run that ended.

    Attributes:
        seconds: from the first call until the last row was on the disk.
        whole_seconds: of the command.
        failed: rows.
        growth_mb: peak memory of the client beyond what it held before the first call, output included.
        answered: calls that the server answered well.
        calls: all that reached it.
    """

    seconds: float
    whole_seconds: float
    failed: int
    growth_mb: float
    answered: int
    calls: int


def processors() -> tuple[set[int], set[int]]:
    """Return one processor for the client and one for the server; the same where there is one."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


@contextmanager
def server(*words: str) -> Iterator[str]:
    """Run the test server in a process of its own, and give its address."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "openai_server.py"), "--latency", str(LATENCY), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        os.sched_setaffinity(process.pid, processors()[1])
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def stats(url: str) -> dict[str, int]:
    """Return what the server counted."""
    with urlopen(url.removesuffix("/v1") + "/stats") as reply:
        found: dict[str, int] = json.load(reply)
    return found


def write_rows(folder: Path, rows: int) -> None:
    """Write a dataset of text questions."""
    content = [
        {"id": f"row-{row}", "question": f"How much is {row} and {row}?", "answer": str(2 * row)}
        for row in range(rows)
    ]
    (folder / "rows.json").write_text(json.dumps(content))
    (folder / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "rows.json", "formatting": "hindsight"}}))


def start(folder: Path, url: str, name: str, *words: str) -> "subprocess.Popen[str]":
    """Start the command as a user's process starts."""
    settings = {
        "pipeline": "answer",
        "use_cot": "false",
        "num_knowledge": 0,
        "engine": "openai",
        "model": "test",
        "base_url": url,
        "concurrency": CONCURRENCY,
        "dataset_dir": folder,
        "dataset": "d",
        "output": folder / name / "answers.jsonl",
    }
    argv = [*(f"{key}={value}" for key, value in settings.items()), *words]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    os.sched_setaffinity(process.pid, processors()[0])
    return process


def memory_mb(pid: int, field: str) -> float:
    """Return `VmRSS` (now) or `VmHWM` (peak) of a process; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def measure(folder: Path, url: str, name: str, *words: str) -> Measured:
    """Run to the end."""
    before, begin = stats(url), time.perf_counter()
    process = start(folder, url, name, *words)
    calls = folder / name / "answers.calls.jsonl"
    least = peak = 0.0
    while process.poll() is None:
        if not least and calls.exists():
            least = memory_mb(process.pid, "VmRSS")
        peak = max(peak, memory_mb(process.pid, "VmHWM"))
        time.sleep(0.05)
    whole = time.perf_counter() - begin
    assert process.stdout is not None
    told = TOLD.search(process.stdout.read())
    if process.returncode:
        raise RuntimeError(f"The run ended with status {process.returncode}, expected 0.")
    after = stats(url)
    return Measured(
        seconds=float(told[2]) if told else 0.0,  # nothing was left to do
        whole_seconds=whole,
        failed=int(told[3]) if told else 0,
        growth_mb=peak - least,
        answered=after["successes"] - before["successes"],
        calls=after["calls"] - before["calls"],
    )


def measure_bare(url: str, rows: int) -> float:
    """Return the seconds that a bare loop of posts takes for as many calls."""
    words = [sys.executable, "-c", BARE, f"{url}/chat/completions", str(rows), str(CONCURRENCY)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, processors()[0])
    return float(process.communicate()[0])


def check_rows(file: Path, rows: int) -> tuple[int, int]:
    """Return how many rows are lost, and how many stand there twice."""
    ids = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    if ids != sorted(ids, key=lambda name: int(name.partition("-")[2])):
        raise RuntimeError(f"{file}: rows are not in the order of the input.")
    return rows - len(set(ids)), len(ids) - len(set(ids))


def throughput(folder: Path, rows: int, runs: int) -> bool:
    """Measure runs without faults."""
    ideal = rows * LATENCY / CONCURRENCY
    found, bare = [], []
    with server() as url:
        for number in range(runs):
            bare.append(measure_bare(url, rows))
            found.append(measure(folder, url, f"plain-{number}"))
    lost, twice = check_rows(folder / "plain-0" / "answers.jsonl", rows)
    seconds = statistics.median(run.seconds for run in found)
    growth = max(run.growth_mb for run in found)
    share = ideal / seconds
    print(f"{rows} rows, {LATENCY * 1000:.0f} ms, {CONCURRENCY} at a time; median of {runs} runs")
    print(f"  {seconds:.2f} s, ideal {ideal:.2f} s: {share:.1%} of the ideal throughput ({rows / seconds:.0f} rows/s)")
    least = statistics.median(bare)
    print(
        f"  a bare loop of posts, in turn: {least:.2f} s, {ideal / least:.1%}; ours takes {seconds / least - 1:+.1%}"
    )
    print(f"  whole command {statistics.median(run.whole_seconds for run in found):.1f} s")
    print(
        f"  memory grew by {growth:.0f} MB at most; lost {lost}, twice {twice}, calls beyond need {found[0].calls - rows}"
    )
    print(f"  goals: at least {GOAL_SHARE:.0%}, less than {GOAL_GROWTH_MB} MB")
    return share >= GOAL_SHARE and growth < GOAL_GROWTH_MB and not lost and not twice


def with_faults(folder: Path, rows: int) -> bool:
    """Measure a run in which a fifth of all calls goes wrong; what failed after its retries is done by a second start."""
    with server("--faults", str(FAULTS), "--kinds", KINDS) as url:
        first = measure(folder, url, "faults", "request_timeout=1")
        again = measure(folder, url, "faults", "request_timeout=1") if first.failed else None
    lost, twice = check_rows(folder / "faults" / "answers.jsonl", rows)
    calls = first.calls + (again.calls if again else 0)
    answered = first.answered + (again.answered if again else 0)
    print(f"the same with faults in {FAULTS:.0%} of the calls ({KINDS})")
    print(
        f"  {first.seconds:.2f} s, memory grew by {first.growth_mb:.0f} MB, {first.failed} rows left for a second start"
    )
    print(
        f"  lost {lost}, twice {twice}; {calls} calls for {rows} rows, well answered {answered}, paid twice {answered - rows}"
    )
    return not lost and not twice and answered == rows


def with_kills(folder: Path, rows: int, kills: int, seed: int) -> bool:
    """Kill runs at random moments, start each again, and compare with one that was never killed."""
    drawn = random.Random(seed)
    exact = repeated = unrecorded_all = paid_all = 0
    with server() as url:
        measured = measure(folder, url, "whole")
        expected = (folder / "whole" / "answers.jsonl").read_bytes()
        for number in range(kills):
            name = f"killed-{number}"
            before = stats(url)["successes"]
            process = start(folder, url, name)
            calls = folder / name / "answers.calls.jsonl"
            while not calls.exists():
                time.sleep(0.002)
            time.sleep(drawn.uniform(0, measured.seconds))
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(4 * LATENCY)  # until the server has noticed what was under way
            recorded = calls.read_bytes().count(b"\n")
            unrecorded = stats(url)["successes"] - before - recorded
            rest = measure(folder, url, name)
            exact += (folder / name / "answers.jsonl").read_bytes() == expected
            keys = [json.loads(line)["key"] for line in calls.read_text().splitlines()]
            repeated += len(keys) - len(set(keys))
            paid_all += rest.answered - (rows - recorded)
            unrecorded_all += unrecorded
    print(f"{kills} runs of {rows} rows killed at a random moment and started again")
    print(f"  exact {exact} of {kills}; recorded calls paid again {repeated + paid_all}")
    print(
        f"  answered but not yet on the disk at the kill, and so paid twice: {unrecorded_all} of {kills * rows} calls"
    )
    return exact == kills and not repeated and not paid_all


def main() -> None:
    """Measure, print, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--quick", action="store_true", help="few rows; speed is shown but no goal")
    given = parser.parse_args()
    rows, runs, kills = (400, 1, 2) if given.quick else (given.rows, given.runs, given.kills)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, rows)
        good = throughput(folder, rows, runs) or given.quick
        good = with_faults(folder, rows) and good
        killed = folder / "kills"
        killed.mkdir()
        write_rows(killed, min(rows, 2000))
        good = with_kills(killed, min(rows, 2000), kills, given.seed) and good
    sys.exit(not good)


if __name__ == "__main__":
    main()
