"""Processes that a run leaves behind when it ends, fails or is killed: none. They are found by a mark in their environment."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from killed_stages import base_settings, write_all


MARK = "HIND_BENCH_MARK"
GRACE = 45.0  # seconds in which a child must notice that its parent is gone; torchrun waits 30 for its processes


def marked(mark: str) -> dict[int, str]:
    """Return the processes that have a mark in their environment, and what each runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state != "Z":
                    found[int(entry.name)] = words[:150]
        except OSError:
            continue
    return found


def started(work: Path, words: list[str], mark: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Start the real command, marked, in a session of its own."""
    program = Path(sys.executable).with_name("llamafactory-cli")
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    more = {MARK: mark, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(program), *words],
        cwd=work,
        env=os.environ | more | environment,
        stdout=open(work / f"{mark}.log", "wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def left(mark: str) -> dict[int, str]:
    """Return what still runs after the grace, and end it."""
    until = time.monotonic() + GRACE
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    for number in found:
        os.kill(number, signal.SIGKILL)
    return found


def ended_by(process: Any, mark: str, how: str, ready: Path) -> int:
    """Let a run end, or kill it once it is under way and all its processes are there; return how many it had."""
    most = 0
    while process.poll() is None:
        most = max(most, len(marked(mark)))
        if how == "killed" and ready.exists():
            time.sleep(1.0)
            most = max(most, len(marked(mark)))
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.2)
    return most


def cases(
    work: Path, folder: Path, world: Path, url: str
) -> Iterator[tuple[str, str, list[str], Path, dict[str, str]]]:
    """Yield (name, how it ends, words, the file that says that it is under way, environment)."""
    from shared.stages import written
    from shared.synth import words

    (folder / "failing.py").write_text("def fails(completions, **columns):\n    raise RuntimeError('no')\n")
    settings = base_settings(world, folder) | {"max_steps": 2, "save_steps": 1, "dataloader_num_workers": 2}
    math = [*settings["reward_funcs"], "math"]
    for ranks in (1, 2):
        for how in ("ended", "failed", "killed"):
            if ranks == 2 and how == "failed":
                continue
            out = work / f"train-{how}-{ranks}"
            rewards = [*math, f"{folder / 'failing.py'}:fails"] if how == "failed" else math
            steps = 400 if how == "killed" else 2
            changed = settings | {"output_dir": str(out), "reward_funcs": rewards, "max_steps": steps}
            file = written(changed | {"ddp_find_unused_parameters": False}, work / out.name)
            more = {} if ranks == 1 else {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(ranks)}
            yield f"grpo, {ranks} rank{'s' * (ranks > 1)}", how, ["train", str(file)], out / "checkpoint-1", more
    for how in ("ended", "killed"):
        output = work / f"synth-{how}" / "o.jsonl"
        more = {"output": output, "dataset": "pairs", "media_dir": world, "output_dataset": f"synth-{how}"}
        asked = words(folder, url, reward_funcs="math", **more)
        asked = [word for word in asked if not word.startswith("reward_funcs")]
        yield "synth", how, ["synth", *asked], output.with_suffix(".calls.jsonl"), {}


def child_processes(work: Path, only: str | None = None) -> bool:
    """Start, end, break and kill runs; report and return whether no process of theirs is left."""
    from conftest import build_small_world

    from shared.openai_server import Behaviour, OpenAIServer
    from shared.store import kept

    folder = work / "rows"
    folder.mkdir()
    world = kept("world", build_small_world)
    write_all(world, folder)
    good = True
    with OpenAIServer(Behaviour(latency=0.5)) as server:
        for name, how, words, ready, environment in cases(work, folder, world, server.url):
            if only not in (None, how):
                continue
            mark = uuid.uuid4().hex
            process = started(work, words, mark, **environment)
            most = ended_by(process, mark, how, ready)
            alive = left(mark)
            good = good and not alive and most > 0
            print(
                f"{name}, {how} (status {process.returncode}): had {most} processes, left {len(alive)} {list(alive.values())[:4]}",
                flush=True,
            )
            if how != "killed" and (process.returncode == 0) != (how == "ended"):
                print((work / f"{mark}.log").read_text(errors="replace")[-1500:], file=sys.stderr)
                good = False
    return good
