"""``python -m llamafactory_hind.toyworld.demo``: HinD from end to end on the offline world, through the real `llamafactory-cli`.

World, base checkpoint, hindsight, both generators, preference pairs, KEPO, answers, and what each step changed. Every step is a command
you can run yourself; it is printed, and skipped when what it makes is there already.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from .chain import CONFIGS, HOME, Chain, Step
from .report import print_report


console = Console(highlight=False)
METHODS = {
    "base": "base, untrained: plain answer",
    "answer_only": "answers alone (sft): plain answer",
    "hdft": "HDFT: reasoning, 8 facts, vote",
    "kepo": "HDFT + KEPO: reasoning, 8 facts, vote",
}


def steps(chain: Chain) -> Iterator[Step]:
    """Yield the demo's commands in order."""
    work = chain.work
    yield from chain.base()
    yield chain.bare("base", "answers of the base")
    yield from chain.answer_only()
    yield chain.bare("answer_only", "answers after answer-only training", adapter="answer_only")
    yield from chain.hdft()
    yield chain.judge("before", "knowledge")
    yield chain.answer("hdft", "answers after HDFT", knowledge_adapter=str(work / "knowledge"))
    yield from chain.kepo()
    # judged by the threshold of before, or the two tables could not be compared
    before = json.loads((work / "knowledge_before.quadrants.json").read_text())
    yield chain.judge("after", "kepo", confidence_threshold=before["quadrants"]["threshold"])
    yield chain.answer("kepo", "answers after KEPO")
    yield chain.score()


def run(step: Step, log: Path, number: int) -> bool:
    """Run a step, its output in `log`, unless it is done; return whether it ran."""
    head = f"[bold]{number}[/] {step.title}"
    if step.makes.is_file():
        console.print(f"{head}: [green]reused[/] {step.makes}")
        return False
    words = [Path(word).name if number == 0 else word for number, word in enumerate(step.argv())]
    console.print(f"{head}\n    [dim]{' '.join(words)}[/]", soft_wrap=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    threads = str(os.cpu_count() or 1)  # one step runs at a time: it may have the machine
    with log.open("w") as file, console.status("running ..."):
        code = subprocess.run(
            step.argv(),
            stdout=file,
            stderr=subprocess.STDOUT,
            # threads that wait asleep: two that spin beside any other job are many times slower than one
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"},
            check=False,
        ).returncode
    if code != 0 or not step.makes.is_file():
        console.print(log.read_text(errors="replace")[-3000:], markup=False)
        raise SystemExit(
            f"{step.title} failed (exit {code}); the whole log is in {log}. Run the command again to resume."
        )
    console.print(f"    {time.monotonic() - start:.0f} s, log in {log}")
    return True


def board() -> str:
    """Return the host's command as it is to be typed here: by its name where the shell finds it."""
    beside = Path(sys.executable).with_name("llamafactory-cli")
    found = shutil.which("llamafactory-cli")
    return (
        "llamafactory-cli"
        if found is not None and Path(found).resolve() == beside.resolve()
        else os.path.relpath(beside)
    )


def main(argv: list[str] | None = None) -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the world; another seed needs another folder")
    arguments = parser.parse_args(argv)
    if not CONFIGS.is_dir():
        raise SystemExit(f"{CONFIGS} is not here: run the demo from the root of the repository.")
    start = time.monotonic()
    chain = Chain(HOME, CONFIGS, arguments.seed)
    ran = [
        run(step, HOME / "logs" / f"{number:02}_{step.name}.log", number)
        for number, step in enumerate(steps(chain), start=1)
    ]
    for picture in print_report(HOME, METHODS, console):
        console.print(f"picture: {picture}")
    reused = ran.count(False)
    again = f"{reused} of {len(ran)} steps reused; `rm -r {HOME}` starts over. " if reused else ""
    console.print(f"{again}{time.monotonic() - start:.0f} s in all.")
    console.print(
        f"Look at the runs: LLAMAFACTORY_HIND_ROOTS={HOME} GRADIO_SERVER_NAME=127.0.0.1 {board()} webui",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
