"""Do actions of another model help GRPO (Vision-EKIPL)? Greedy accuracy over steps on the offline world, seed by seed.

    python benchmarks/external_toyworld.py --seeds 5

Every seed has its own world, base checkpoint and pictures. All methods start from the same checkpoint (`cold_start_sft.yaml`) and take as many
steps of as many rows; the baseline takes only rows whose action is right. Settings were chosen on seed 0 alone.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from seeds import folder, interval, run_benchmark

from llamafactory_hind.toyworld.chain import Chain, Step


STEPS, EVERY = 160, 20  # optimiser steps of eight prompts; steps between two checkpoints
# a checkpoint every so often, nothing else: held-out answers are written afterwards, by the same code for every method
TRAINING = {
    "max_steps": STEPS,
    "save_strategy": "steps",
    "save_steps": EVERY,
    "save_total_limit": "null",
    "save_only_model": "true",
    "plot_loss": "false",
}
ONLINE = TRAINING | {"eval_strategy": '"no"', "eval_dataset": "null", "load_best_model_at_end": "false"}
METHODS = {
    "grpo": ("GRPO", "external_grpo.yaml", ONLINE | {"external_max_per_group": 0}),  # bit for bit `stage: grpo`
    "plain": ("external actions, plain ratio", "external_grpo.yaml", ONLINE),
    "shaped": ("external actions, shaped ratio", "external_grpo.yaml", ONLINE | {"external_ratio": "shaped"}),
    "sft": ("SFT on the rewarded actions", "external_sft.yaml", TRAINING),
}
RUNS = "external"  # folder of the trainings


def steps(chain: Chain) -> Iterator[Step]:
    """Yield all steps of a seed; held-out accuracy is measured between them."""
    yield from chain.base()[:2]
    rows = chain.work / "rows" / "color_train.json"
    world = ("--out", str(chain.work), "--seed", str(chain.seed), "--only-styles")
    yield Step("rows", "rows of a world that was built before", "llamafactory_hind.toyworld", world, rows)
    yield chain.train("cold_start_sft.yaml", "cold_start", "cold start (stage: sft)")
    yield chain.synth("external_select.yaml", "color_rewarded", "actions that the reward thinks well of (synth)")
    for name, (title, config, settings) in METHODS.items():
        yield chain.train(config, f"{RUNS}/{name}", title, **settings)
        write_curve(chain.work, name)


def write_curve(work: Path, name: str) -> None:
    """Measure the checkpoints of a training and of its start, unless that is done; then drop the checkpoints."""
    run = work / RUNS / name
    curve = run / "curve.json"
    if not curve.is_file():
        saved = {int(path.name.rpartition("-")[2]): path for path in run.glob("checkpoint-*")}
        found = {step: accuracy(path, work) for step, path in sorted({0: work / "cold_start", **saved}.items())}
        curve.write_text(json.dumps(found) + "\n")
    for path in [*run.glob("checkpoint-*"), run / "completions"]:
        shutil.rmtree(path, ignore_errors=True)


def accuracy(model: Path, work: Path) -> float:
    """Return the share of held-out rows whose greedy completion the reward `accuracy` thinks right."""
    from llamafactory_hind.engines.interface import Request, Sampling
    from llamafactory_hind.engines.local.engine import LocalEngine
    from llamafactory_hind.engines.local.weights import load_weights
    from llamafactory_hind.rewards import get_reward

    rows = json.loads((work / "rows" / "color_test.json").read_text())
    engine = LocalEngine(load_weights(str(model), settings={"template": "qwen2_vl"}), batch_size=60)
    requests = [
        Request([{"role": "user", "content": row["prompt"]}], images=[str(work / image) for image in row["images"]])
        for row in rows
    ]
    greedy = Sampling(n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=24, seed=0, greedy_first=True)
    texts = [completions[0].text for completions in asyncio.run(engine.generate(requests, greedy))]
    return mean(get_reward("accuracy")(texts, answer=[row["answer"] for row in rows]))


def curves(seeds: Sequence[int]) -> dict[str, list[dict[int, float]]]:
    """Return accuracy by step for each method and seed."""
    read = {
        name: [json.loads((folder(s) / RUNS / name / "curve.json").read_text()) for s in seeds] for name in METHODS
    }
    return {name: [{int(k): v for k, v in curve.items()} for curve in found] for name, found in read.items()}


def steps_to(curve: dict[int, float], target: float) -> int | None:
    """Return the first measured step at which an accuracy is reached; None if it never is."""
    return next((step for step, found in sorted(curve.items()) if found >= target), None)


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    found = curves(seeds)
    at = sorted(found["grpo"][0])
    lines = [f"Greedy accuracy in %, held-out pictures, mean ± 95 % interval over {len(seeds)} seeds:", ""]
    lines += ["| method | " + " | ".join(f"step {step}" for step in at) + " |", "|---|" + "---|" * len(at)]
    for name, (title, *_) in METHODS.items():
        cells = [interval([curve[step] for curve in found[name]]) for step in at]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", *speed_lines(found), "", *difference_lines(found), "", *log_lines(seeds)]
    return "\n".join(lines)


def speed_lines(found: dict[str, list[dict[int, float]]]) -> list[str]:
    """Return when each method reaches what GRPO ends at in the same seed."""
    lines = [f"Steps to the accuracy that GRPO has at step {STEPS} in the same seed (measured every {EVERY}):", ""]
    lines += ["| method | seed by seed | mean, where reached |", "|---|---|---|"]
    for name, (title, *_) in METHODS.items():
        taken = [steps_to(curve, grpo[STEPS]) for curve, grpo in zip(found[name], found["grpo"], strict=True)]
        reached = [step for step in taken if step is not None]
        cells = ", ".join("never" if step is None else str(step) for step in taken)
        lines.append(f"| {title} | {cells} | {interval(reached, scale=1) if reached else 'never'} |")
    return lines


def difference_lines(found: dict[str, list[dict[int, float]]]) -> list[str]:
    """Return paired differences of the final accuracy."""
    lines = [f"Differences at step {STEPS} within a seed, points:", ""]
    lines += ["| difference | mean | seeds above 0 |", "|---|---|---|"]
    for one, other in (("plain", "grpo"), ("shaped", "grpo"), ("sft", "grpo"), ("plain", "sft"), ("shaped", "plain")):
        gaps = [a[STEPS] - b[STEPS] for a, b in zip(found[one], found[other], strict=True)]
        above = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        lines.append(f"| {METHODS[one][0]} - {METHODS[other][0]} | {interval(gaps)} | {above} |")
    return lines


def log_lines(seeds: Sequence[int]) -> list[str]:
    """Return what the logs say of the groups, and what a training costs."""
    lines = ["Over all steps of training, mean over the seeds:", ""]
    lines += [
        "| method | groups of equal rewards, % | external in the groups, % | entropy | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, (title, *_) in METHODS.items():
        states = [json.loads((folder(seed) / RUNS / name / "trainer_state.json").read_text()) for seed in seeds]
        logs = [[line for line in state["log_history"] if "loss" in line] for state in states]
        cells = []
        for key, scale in (("zero_variance_share", 100), ("external/kept_share", 100), ("entropy", 1)):
            there = [mean(line[key] for line in lines_of if key in line) for lines_of in logs if key in lines_of[-1]]
            cells.append(f"{scale * mean(there):.2g}" if there else "")
        seconds = mean(state["log_history"][-1]["train_runtime"] for state in states)
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    kept = [len(json.loads((folder(seed) / "color_rewarded.selected.json").read_text())) for seed in seeds]
    total = len(json.loads((folder(seeds[0]) / "rows" / "color_train.json").read_text()))
    return [*lines, "", f"Right actions, which the baseline learns from: {kept} of {total} rows."]


if __name__ == "__main__":
    run_benchmark(steps, report, file=__file__, description=__doc__)
