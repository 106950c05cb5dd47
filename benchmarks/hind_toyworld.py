"""Does HinD learn more than answers alone, and KEPO more than plain DPO? Answer accuracy on the offline world, seed by seed.

    python benchmarks/hind_toyworld.py --seeds 5

Every seed has its own world, base checkpoint and trainings (the YAML files of `yaml_configs/toyworld`). Plain DPO is the same stage on
`best_worst` pairs: same rows, samples, steps, learning rate. Answer-only training takes as many steps as both generators and KEPO together.
Settings were chosen on seed 0 alone. Finished steps are kept: killed and started again, it goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from llamafactory_hind.toyworld.chain import Chain, Step, accuracies, move_configs


WORK = Path("build/bench/hind_toyworld")
GROUPS = ("all", "new facts", "new facts, misaligned", "asked in training")
# Two-sided 95 % quantiles of Student's t for n - 1 degrees of freedom.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
METHODS = {
    "base": "base, untrained",
    "answer_only": "answer-only SFT",
    "hdft_1": "HDFT, one greedy fact",
    "hdft_8": "HDFT, vote of 8",
    "dpo_1": "HDFT + plain DPO, one greedy fact",
    "dpo_8": "HDFT + plain DPO, vote of 8",
    "kepo_1": "HDFT + KEPO, one greedy fact",
    "kepo_8": "HDFT + KEPO, vote of 8",
    "kepo_8_no_cot": "HDFT + KEPO, vote of 8, no reasoning",
}
CLAIMS = [
    ("kepo_1", "dpo_1"),
    ("kepo_8", "dpo_8"),
    ("dpo_1", "hdft_1"),
    ("dpo_8", "hdft_8"),
    ("hdft_1", "answer_only"),
]
CLAIMS += [("hdft_8", "answer_only"), ("kepo_8", "answer_only")]
QUADRANTS = {"hdft": "knowledge", "dpo": "dpo", "kepo": "kepo"}


def steps(chain: Chain) -> Iterator[Step]:
    """Yield all steps of a seed."""
    yield from chain.base()
    yield chain.bare("base", "answers of the base")
    yield from chain.answer_only()
    yield chain.bare("answer_only", "answers after answer-only training", adapter="answer_only")
    yield from chain.hdft()
    yield from chain.kepo()
    yield from chain.kepo("dpo", pair_rule="best_worst")
    yield chain.judge("hdft", "knowledge")
    before = json.loads((chain.work / "knowledge_hdft.quadrants.json").read_text())["quadrants"]["threshold"]
    for name in ("dpo", "kepo"):
        yield chain.judge(name, name, confidence_threshold=before)
    for name, folder in QUADRANTS.items():
        adapter = str(chain.work / folder)
        yield chain.answer(f"{name}_1", name, knowledge_adapter=adapter, num_knowledge=1)
        yield chain.answer(f"{name}_8", name, knowledge_adapter=adapter)
    yield chain.answer("kepo_8_no_cot", "no reasoning", use_cot=False, cot_adapter="null")


def run_seed(seed: int) -> None:
    """Do what is missing of a seed, in this process: a start of the command line costs more than most steps."""
    from llamafactory.train.tuner import run_exp
    from omegaconf import OmegaConf

    from llamafactory_hind.pipelines.run import run_synth
    from llamafactory_hind.toyworld import __main__ as world
    from llamafactory_hind.toyworld import evaluate

    modules = {"llamafactory_hind.toyworld": world.main, "llamafactory_hind.toyworld.evaluate": evaluate.main}
    work = WORK / f"seed-{seed}"
    for step in steps(Chain(work, move_configs(work), seed)):
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


def start_seed(seed: int) -> int:
    """Run a seed in a process of one thread, its output in a log; return the exit status."""
    work = WORK / f"seed-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (work / "log.txt").open("a") as log:
        command = [sys.executable, __file__, "--only-seed", str(seed)]
        return subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode


def interval(values: Sequence[float]) -> str:
    """Return mean and half-width of the 95 % interval of the mean, in percent."""
    if len(values) < 2:
        return f"{100 * mean(values):.1f}"
    return f"{100 * mean(values):.1f} ± {100 * T95[len(values)] * stdev(values) / len(values) ** 0.5:.1f}"


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    score = {name: [accuracies(WORK / f"seed-{seed}" / f"answers_{name}.json") for seed in seeds] for name in METHODS}
    lines = [f"VQA accuracy in %, held-out pictures, mean ± 95 % interval over {len(seeds)} seeds:", ""]
    lines += ["| method | " + " | ".join(GROUPS) + " |", "|---|" + "---|" * len(GROUPS)]
    for name, title in METHODS.items():
        cells = [interval([found[group][0] for found in score[name]]) for group in GROUPS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Differences within a seed, points:",
        "",
        "| difference | all | new facts | seeds above 0 (new facts) |",
    ]
    lines.append("|---|---|---|---|")
    for one, other in CLAIMS:
        gaps = {
            group: [a[group][0] - b[group][0] for a, b in zip(score[one], score[other], strict=True)]
            for group in GROUPS
        }
        above = sum(gap > 0 for gap in gaps["new facts"])
        cells = f"{interval(gaps['all'])} | {interval(gaps['new facts'])} | {above} of {len(seeds)}"
        lines.append(f"| {METHODS[one]} - {METHODS[other]} | {cells} |")
    lines += ["", "Knowledge on held-out pictures, %:", ""]
    return "\n".join(lines + quadrant_lines(seeds) + base_lines(seeds))


def quadrant_lines(seeds: Sequence[int]) -> list[str]:
    """Return the helpful x confident table of each generator."""
    found = {
        name: [json.loads((WORK / f"seed-{s}" / f"knowledge_{name}.quadrants.json").read_text()) for s in seeds]
        for name in QUADRANTS
    }
    corners = list(found["hdft"][0]["quadrants"]["shares"])
    lines = ["| generator | helpful, greedy | helpful, sampled | " + " | ".join(corners) + " |"]
    lines.append("|---|" + "---|" * (2 + len(corners)))
    for name, reports in found.items():
        cells = [
            interval([r["greedy_helpful_rate"] for r in reports]),
            interval([r["sampled_helpful_rate"] for r in reports]),
        ]
        cells += [interval([r["quadrants"]["shares"][corner] for r in reports]) for corner in corners]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def base_lines(seeds: Sequence[int]) -> list[str]:
    """Return what the base checkpoints can do, and what their hindsight kept."""
    seen = [json.loads((WORK / f"seed-{seed}" / "base" / "accuracy.json").read_text())["accuracy"] for seed in seeds]
    kept = [json.loads((WORK / f"seed-{seed}" / "written.report.json").read_text()) for seed in seeds]
    pairs = {
        name: [len(json.loads((WORK / f"seed-{seed}" / f"pairs_{name}.json").read_text())) for seed in seeds]
        for name in ("kepo", "dpo")
    }
    lines = [
        "",
        "The base: " + ", ".join(f"{kind} {interval([found[kind] for found in seen])}" for kind in seen[0]) + ".",
    ]
    lines.append(f"Hindsight kept: {[report['kept'] for report in kept]} of {kept[0]['rows']} rows.")
    lines.append(f"Pairs: misaligned {pairs['kepo']}, best_worst {pairs['dpo']}.")
    return lines


def main() -> None:
    """Run the seeds, two at a time, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="seeds at a time")
    parser.add_argument("--only-seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_seed is not None:
        run_seed(arguments.only_seed)
        return
    seeds = range(arguments.seeds)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        codes = dict(zip(seeds, pool.map(start_seed, seeds), strict=True))
    failed = [seed for seed, code in codes.items() if code]
    if failed:
        raise SystemExit(f"seeds {failed} failed; see {WORK}/seed-N/log.txt. Finished steps are kept: run it again.")
    text = report(list(seeds))
    (WORK / "results.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
