"""Does HinD learn more than answers alone, and KEPO more than plain DPO? Answer accuracy on the offline world, seed by seed.

    python benchmarks/hind_toyworld.py --seeds 5

Every seed has its own world, base checkpoint and trainings (the YAML files of `yaml_configs/toyworld`). Plain DPO is the same stage on
`best_worst` pairs: same rows, samples, steps, learning rate. Answer-only training takes as many steps as both generators and KEPO together.
Settings were chosen on seed 0 alone. Finished steps are kept: killed and started again, it goes on.
"""

import json
from collections.abc import Iterator, Sequence

from seeds import folder, interval, run_benchmark

from llamafactory_hind.toyworld.chain import Chain, Step, accuracies


GROUPS = ("all", "new facts", "new facts, misaligned", "asked in training")
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
    for name, made in QUADRANTS.items():
        adapter = str(chain.work / made)
        yield chain.answer(f"{name}_1", name, knowledge_adapter=adapter, num_knowledge=1)
        yield chain.answer(f"{name}_8", name, knowledge_adapter=adapter)
    yield chain.answer("kepo_8_no_cot", "no reasoning", use_cot=False, cot_adapter="null")


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    score = {name: [accuracies(folder(seed) / f"answers_{name}.json") for seed in seeds] for name in METHODS}
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
        name: [json.loads((folder(s) / f"knowledge_{name}.quadrants.json").read_text()) for s in seeds]
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
    seen = [json.loads((folder(seed) / "base" / "accuracy.json").read_text())["accuracy"] for seed in seeds]
    kept = [json.loads((folder(seed) / "written.report.json").read_text()) for seed in seeds]
    pairs = {
        name: [len(json.loads((folder(seed) / f"pairs_{name}.json").read_text())) for seed in seeds]
        for name in ("kepo", "dpo")
    }
    lines = [
        "",
        "The base: " + ", ".join(f"{kind} {interval([found[kind] for found in seen])}" for kind in seen[0]) + ".",
    ]
    lines.append(f"Hindsight kept: {[report['kept'] for report in kept]} of {kept[0]['rows']} rows.")
    lines.append(f"Pairs: misaligned {pairs['kepo']}, best_worst {pairs['dpo']}.")
    return lines


if __name__ == "__main__":
    run_benchmark(steps, report, file=__file__, description=__doc__)
