"""What does the gate add, and what do hints? KEPO (Knowledge-Enhanced PO, arXiv 2602.00400) against its baselines, offline world.

    python benchmarks/gated_toyworld.py --seeds 5

ONE world, base, student and teacher (those of seed 0); the seeds are those of training: order of prompts and samples. All methods start
from one student with the settings of `yaml_configs/toyworld/gated_distill.yaml` and differ in the keys of `METHODS` alone. What is equal:
the number of tokens that the student wrote, hinted ones included (`BUDGET_STEPS` steps of GRPO); a method that writes more per step is
judged at an earlier step. SFT writes nothing; it sees as many gold texts as the others write completions.
Train on one rendering style, test on all; greedy, new pictures. Finished runs are kept: killed and started again, it goes on.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from seeds import folder, interval, run_benchmark

from llamafactory_hind.toyworld.build import build
from llamafactory_hind.toyworld.chain import Chain, Step, move_configs
from llamafactory_hind.toyworld.scenes import STANDARD, STYLES


WORLD = 0  # seed of the world, its base, student and teacher
BUDGET_STEPS = 60
EVERY = 10  # steps between two looks
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("SFT on gold texts", {}),
    "grpo": ("GRPO", {"teacher": None, "hint_samples": 0}),
    "ungated": ("GRPO + ungated distillation", {"gate_threshold": "-.inf", "hint_samples": 0}),
    "gated": ("GRPO + gated distillation", {"hint_samples": 0}),
    "gated_hints": ("GRPO + gated distillation + hints", {}),
}
CLAIMS = [
    ("ungated", "grpo"),
    ("gated", "ungated"),
    ("gated_hints", "gated"),
    ("gated_hints", "grpo"),
    ("gated_hints", "sft"),
]
PROMPTS, GROUP = 8, 8  # a step of gated_distill.yaml
SLACK = 1.02  # a method whose completions are a little longer is not judged ten steps earlier for it
GROUPS = (STANDARD, "other styles", "misaligned", "aligned")


def steps(chain: Chain) -> Iterator[Step]:
    """Yield what is missing before the runs of a seed, then do the runs."""
    shared = Chain(folder(WORLD), move_configs(folder(WORLD)), WORLD)
    with FileLock(folder(WORLD) / "gated.lock"):  # seeds run side by side; one of them makes what all need
        yield from shared.base()
        if not (shared.work / "rows" / "styles_train.json").is_file():
            build(shared.work, seed=WORLD, size="base", only_styles=True)
        yield shared.train("student.yaml", "student", "student (stage: sft)")
        yield shared.train("teacher.yaml", "teacher", "teacher (stage: sft)")
        for name in ("student", "teacher"):
            judged(shared.work / name, shared.work / "gated" / f"{name}.json")
    for method, (_, settings) in METHODS.items():
        run = Chain(shared.work, shared.configs, chain.seed)
        place = place_of(method, chain.seed).relative_to(shared.work)
        if (shared.work / place / "looks.json").is_file():
            continue
        config = "styles_sft.yaml" if method == "sft" else "gated_distill.yaml"
        given = {name: "null" if value is None else value for name, value in settings.items()}
        yield run.train(
            config,
            str(place),
            method,
            max_steps=BUDGET_STEPS,
            save_steps=EVERY,
            save_total_limit=BUDGET_STEPS,
            save_only_model="true",
            logging_steps=1,
            plot_loss="false",
            **given,
        )
        look(shared.work / place)


def look(run: Path) -> None:
    """Judge every checkpoint of a run, then remove their weights."""
    checkpoints = sorted(run.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    looks = {int(path.name.partition("-")[2]): judged(path, None) for path in checkpoints}
    (run / "looks.json").write_text(json.dumps(looks, indent=1))
    for path in checkpoints:
        shutil.rmtree(path)


def judged(model: Path, output: Path | None) -> dict[str, dict[str, float]]:
    """Return accuracy of greedy answers by style, by alignment and by both; also written to `output`, and read from there."""
    from llamafactory_hind.engines.interface import Request, Sampling
    from llamafactory_hind.engines.local.engine import LocalEngine
    from llamafactory_hind.engines.local.weights import load_weights
    from llamafactory_hind.evaluation.answers import answer_or_all

    if output is not None and output.is_file():
        return json.loads(output.read_text())
    world = folder(WORLD)
    rows = json.loads((world / "rows" / "styles_test.json").read_text())
    engine = LocalEngine(
        load_weights(str(model), settings={"template": "qwen2_vl"}), batch_size=108, gives_logps=False
    )
    greedy = Sampling(n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=48, seed=0, greedy_first=True)
    requests = [
        Request([{"role": "user", "content": row["prompt"]}], images=[str(world / row["images"][0])], key=row["id"])
        for row in rows
    ]
    written = asyncio.run(engine.generate(requests, greedy))
    right = [answer_or_all(texts[0].text) == row["answer"] for row, texts in zip(rows, written, strict=True)]
    members = {style: lambda row, style=style: row["modality"] == style for style in STYLES}
    members["other styles"] = lambda row: row["modality"] != STANDARD
    members["misaligned"] = lambda row: row["modality"] == STANDARD and row["misaligned"]
    members["aligned"] = lambda row: row["modality"] == STANDARD and not row["misaligned"]
    found = {}
    for name, belongs in members.items():
        hits = [hit for row, hit in zip(rows, right, strict=True) if belongs(row)]
        found[name] = sum(hits) / len(hits)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=1))
    return found


def log_lines(run: Path) -> list[dict[str, Any]]:
    """Return the log of training, a line a step; none for SFT, which writes nothing."""
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [line for line in history if "completion_length" in line]


def tokens_by_step(run: Path) -> list[float]:
    """Return the tokens that the student had written after each step: completions, and those with a hint in sight."""
    written = [GROUP * line["completion_length"] + line.get("hints/tokens", 0.0) for line in log_lines(run)]
    return [PROMPTS * total for total in accumulate(written)]


def within_budget(method: str, seed: int) -> int:
    """Return the last step with a look at which a method had written no more than GRPO in all its steps."""
    written = tokens_by_step(place_of(method, seed))
    if not written:
        return BUDGET_STEPS
    budget = SLACK * tokens_by_step(place_of("grpo", seed))[-1]
    return max((step for step in range(EVERY, BUDGET_STEPS + 1, EVERY) if written[step - 1] <= budget), default=EVERY)


def place_of(method: str, seed: int) -> Path:
    """Return the folder of a run."""
    return folder(WORLD) / "gated" / f"seed-{seed}" / method


def looks_of(method: str, seed: int) -> dict[int, dict[str, float]]:
    """Return step -> what a run could do then."""
    found = json.loads((place_of(method, seed) / "looks.json").read_text())
    return {int(step): accuracies for step, accuracies in found.items()}


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    ends = {(method, seed): within_budget(method, seed) for method in METHODS for seed in seeds}
    final = {key: looks_of(*key)[step] for key, step in ends.items()}
    lines = [f"Greedy accuracy in %, new pictures, mean ± 95 % interval over {len(seeds)} seeds of training:", ""]
    lines += ["| | " + " | ".join((*GROUPS, *STYLES[1:])) + " |", "|---|" + "---|" * (len(GROUPS) + len(STYLES) - 1)]
    for name in ("student", "teacher"):
        known = judged(folder(WORLD) / name, folder(WORLD) / "gated" / f"{name}.json")
        cells = [f"{100 * known[group]:.1f}" for group in (*GROUPS, *STYLES[1:])]
        lines.append(f"| {name}, before | " + " | ".join(cells) + " |")
    for method, (title, _) in METHODS.items():
        cells = [interval([final[method, seed][group] for seed in seeds]) for group in (*GROUPS, *STYLES[1:])]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| | judged at step | steps to 80 % of the best | groups without signal, % | tokens written, thousands |",
    ]
    lines.append("|---|---|---|---|---|")
    best = {seed: max(final[method, seed][STANDARD] for method in METHODS) for seed in seeds}
    for method, (title, _) in METHODS.items():
        steps_taken = [ends[method, seed] for seed in seeds]
        first = [first_step(looks_of(method, seed), 0.8 * best[seed], ends[method, seed]) for seed in seeds]
        cells = [f"{min(steps_taken)} to {max(steps_taken)}", _reached(first), *_logged(method, ends, seeds)]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Differences within a seed, points:", "", *_differences(final, seeds)])


def first_step(looks: dict[int, dict[str, float]], wanted: float, last: int) -> int | None:
    """Return the first look within the budget at which the standard style is answered that well, None if there is none."""
    return next((step for step, found in sorted(looks.items()) if step <= last and found[STANDARD] >= wanted), None)


def _reached(first: Sequence[int | None]) -> str:
    reached = [step for step in first if step is not None]
    return (
        f"{interval(reached, scale=1)} ({len(reached)} of {len(first)})" if reached else f"never (0 of {len(first)})"
    )


def _logged(method: str, ends: dict[tuple[str, int], int], seeds: Sequence[int]) -> list[str]:
    if method == "sft":
        return ["-", "0"]
    flat, written = [], []
    for seed in seeds:
        lines = log_lines(place_of(method, seed))[: ends[method, seed]]
        flat.append(mean(line["zero_variance_share"] for line in lines))
        written.append(tokens_by_step(place_of(method, seed))[ends[method, seed] - 1] / 1000)
    return [interval(flat), interval(written, scale=1)]


def _differences(final: dict[tuple[str, int], dict[str, float]], seeds: Sequence[int]) -> list[str]:
    lines = ["| difference | " + " | ".join(GROUPS) + " |", "|---|" + "---|" * len(GROUPS)]
    for one, other in CLAIMS:
        gaps = [[final[one, seed][group] - final[other, seed][group] for seed in seeds] for group in GROUPS]
        lines.append(f"| {METHODS[one][0]} - {METHODS[other][0]} | " + " | ".join(map(interval, gaps)) + " |")
    return lines


if __name__ == "__main__":
    run_benchmark(steps, report, file=__file__, description=__doc__)
