"""What the benchmarks of the offline world share: a process of one thread a seed, steps that are done once, and intervals over seeds.

    from seeds import run_benchmark

    run_benchmark(steps, report, file=__file__, description=__doc__)

World and base checkpoint of a seed lie in `build/bench/toyworld/seed-N`, for every benchmark. Killed and started again, it goes on.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.markdown import Markdown
from scipy import stats

from llamafactory_hind.toyworld.chain import Chain, Step, move_configs


WORK = Path("build/bench/toyworld")


def interval(values: Sequence[float], *, scale: float = 100) -> str:
    """Return mean and half-width of the 95 % interval of the mean (Student's t), times `scale` (100: in percent)."""
    if len(values) < 2:
        return f"{scale * mean(values):.1f}"
    # not `t.interval`, which is NaN where all values are equal
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{scale * mean(values):.1f} ± {scale * half:.1f}"


def folder(seed: int) -> Path:
    """Return the working folder of a seed."""
    return WORK / f"seed-{seed}"


def run_steps(steps: Iterable[Step], seed: int) -> None:
    """Do what is missing, in this process: a start of the command line costs more than most steps."""
    from llamafactory.train.tuner import run_exp
    from omegaconf import OmegaConf

    from llamafactory_hind.pipelines.runner.run import run_synth
    from llamafactory_hind.toyworld import __main__ as world
    from llamafactory_hind.toyworld import evaluate
    from llamafactory_hind.toyworld.localized import __main__ as localized
    from llamafactory_hind.toyworld.video import __main__ as clips

    modules = {
        "llamafactory_hind.toyworld": world.main,
        "llamafactory_hind.toyworld.evaluate": evaluate.main,
        "llamafactory_hind.toyworld.video": clips.main,
        "llamafactory_hind.toyworld.localized": localized.main,
    }
    for step in steps:
        if step.makes.is_file():
            continue
        print(f"=== seed {seed}: {step.name}", flush=True)
        if step.command == "train":
            file, *settings = step.words
            run_exp(OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_cli(settings))))
        elif step.command == "synth":
            run_synth(list(step.words))
        else:
            modules[step.command](list(step.words))


def log_of(file: str, seed: int) -> Path:
    """Return the log of a seed of the benchmark in `file`; not in the seed's folder, which its world wants empty."""
    return WORK / f"{Path(file).stem}.seed-{seed}.log"


def start_seed(file: str, seed: int) -> int:
    """Run a seed of the benchmark in `file` in a process of one thread, its output in a log; return the exit status."""
    WORK.mkdir(parents=True, exist_ok=True)
    # a thread that waits asleep: what spins beside another job takes its time
    alone = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    with log_of(file, seed).open("a") as log:
        command = [sys.executable, file, "--only-seed", str(seed)]
        return subprocess.run(command, env={**os.environ, **alone}, stdout=log, stderr=log, check=False).returncode


def run_benchmark(
    steps: Callable[[Chain], Iterable[Step]],
    report: Callable[[Sequence[int]], str],
    *,
    file: str,
    description: str | None,
) -> None:
    """Read the command line, run the seeds, some at a time, and print the tables.

    Args:
        steps: of a seed; one may be made when those before it are done.
        report: from seeds to Markdown; also written to `<work>/<name of the file>.md`.
        file: the benchmark's own, to start its seeds by.
        description: for `--help`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="seeds at a time")
    parser.add_argument("--only-seed", type=int, help="do the steps of this seed, here; print no tables")
    arguments = parser.parse_args()
    if arguments.only_seed is not None:
        seed = arguments.only_seed
        run_steps(steps(Chain(folder(seed), move_configs(folder(seed)), seed)), seed)
        return
    seeds = range(arguments.seeds)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        codes = dict(zip(seeds, pool.map(lambda seed: start_seed(file, seed), seeds), strict=True))
    failed = [seed for seed, code in codes.items() if code]
    name = Path(file).stem
    if failed:
        raise SystemExit(
            f"seeds {failed} failed; see {WORK}/{name}.seed-N.log. Finished steps are kept: run it again."
        )
    text = report(list(seeds))
    (WORK / f"{name}.md").write_text(text + "\n")
    Console().print(Markdown(text))
