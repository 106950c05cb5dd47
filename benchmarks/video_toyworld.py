"""Does reasoning that is often wrong help (ReasVQA)? Held-out accuracy by question type on the offline world of clips, seed by seed.

    python benchmarks/video_toyworld.py --seeds 5

One teacher, trained on the lessons of seed 0, writes the reasoning for all. Every seed has its own clips and students. The students of
a seed start from the same untrained checkpoint and take as many steps of as many examples; they differ by one key of their dataset. Nothing was tuned for it: settings are those of the YAML files, with fewer steps.
"""

import asyncio
import fcntl
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from seeds import WORK, folder, interval, run_benchmark

from llamafactory_hind.toyworld.chain import Chain, Step, move_configs


SFT, TWO_TASKS = "video_answer_only_sft.yaml", "video_2_reason_sft.yaml"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # dataset -> title, its entry in dataset_info.json
    "answer": ("answers alone", {"target": "answer"}),
    "correct": ("answer + correct reasoning", {"target": "multitask", "correct_only": True}),
    "all": ("answer + all reasoning (the paper's)", {"target": "multitask"}),
    "unrefined": ("answer + all reasoning, unrefined", {"target": "multitask", "refined": False}),
    "thinking": ("reasoning, then answer", {"target": "reasoned_answer", "refined": True}),
}
ONE_FRAME = "one_frame"
STEPS = 200  # of every student
TEACHER = 0  # the seed on whose lessons the teacher is trained
TYPES = ("TP", "TN", "DC", "TC", "CW")
FILE = "video_toyworld.json"


def home(seed: int) -> Path:
    """Return the folder of a seed: what the YAML files name `build/toyworld_video`, moved."""
    return Path(f"{folder(seed)}_video")


def steps(chain: Chain) -> Iterator[Step]:
    """Yield all steps of a seed; held-out accuracy is measured between them."""
    work = home(chain.seed)
    chain = replace(chain, work=work)
    yield from teacher()
    yield clips(chain)
    model = str(home(TEACHER) / "teacher")
    yield chain.synth(
        "video_1_reasoning.yaml", "reasoned", "reasoning of the teacher (synth)", model_name_or_path=model
    )
    register(work)
    for name, (title, own) in METHODS.items():
        config = TWO_TASKS if own["target"] == "multitask" else SFT
        yield chain.train(config, name, title, dataset=f"student_{name}", max_steps=STEPS)
        measure(work, name)
    measure(work, "all", name=ONE_FRAME, most=1)


def teacher() -> Iterator[Step]:
    """Yield what makes the teacher; of several seeds that start together one makes it, and the others wait."""
    chain = Chain(home(TEACHER), move_configs(folder(TEACHER)), TEACHER)
    with (WORK / "video_teacher.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield clips(chain)
        yield chain.train("video_0_teacher.yaml", "teacher", "teacher, stopped early (stage: sft)")


def clips(chain: Chain) -> Step:
    """Return the step that draws the clips of a seed."""
    world = ("--out", str(chain.work), "--seed", str(chain.seed))
    makes = chain.work / "larger/config.json"
    return Step("clips", "clips and questions", "llamafactory_hind.toyworld.video", world, makes)


def register(work: Path) -> None:
    """Give every method a dataset of its own over the same rows."""
    file = work / "dataset_info.json"
    info = json.loads(file.read_text())
    entry = {"file_name": "reasoned.json", "formatting": "video_reasoning", "answer_form": "text"}
    info |= {f"student_{name}": entry | own for name, (_, own) in METHODS.items()}
    file.write_text(json.dumps(info, indent=1) + "\n")


def measure(work: Path, method: str, *, name: str | None = None, most: int = 128) -> None:
    """Write which held-out questions a student answers right, unless that is done.

    Args:
        work: of the seed.
        method: which student.
        name: of the result; None is that of the method.
        most: frames of a clip at most.
    """
    file = work / FILE
    known = json.loads(file.read_text()) if file.is_file() else {}
    if (name or method) not in known:
        known[name or method] = right_answers(work, method, most)
        file.write_text(json.dumps(known) + "\n")


def right_answers(work: Path, method: str, most: int) -> dict[str, list[bool]]:
    """Return for each type of question whether the greedy answers are right, in the order of the rows."""
    from llamafactory_hind.engines.interface import Request, Sampling
    from llamafactory_hind.engines.local.engine import LocalEngine
    from llamafactory_hind.engines.local.weights import load_weights
    from llamafactory_hind.evaluation.choices import correct_options, parse_choice
    from llamafactory_hind.formats.video_reasoning.rows import open_media, prompt_of, read_options

    entry = json.loads((work / "dataset_info.json").read_text())[f"student_{method}"]
    options = read_options(entry, name=method)
    task = "reasoned_answer" if options.target == "reasoned_answer" else "answer"
    rows = json.loads((work / "rows/video_test.json").read_text())
    requests = []
    for row in rows:
        media = {"images": [], "videos": [str(work / path) for path in row["videos"]], "audios": []}
        videos = open_media(row, media)["videos"]
        requests.append(Request([{"role": "user", "content": prompt_of(row, task, options)}], videos=videos))
    settings = {"template": "qwen2_vl", "video_fps": 2.0, "video_maxlen": most}
    engine = LocalEngine(load_weights(str(work / method), settings=settings), batch_size=60)
    greedy = Sampling(n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=64, seed=0, greedy_first=True)
    written = asyncio.run(engine.generate(requests, greedy))
    found: dict[str, list[bool]] = {kind: [] for kind in TYPES}
    for row, (completion,) in zip(rows, written, strict=True):
        chosen = parse_choice(completion.text, row["choices"])
        found[row["type"]].append(chosen in correct_options(row["choices"], row["answer"]))
    return found


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    results = [json.loads((home(seed) / FILE).read_text()) for seed in seeds]
    teachers = [json.loads((home(seed) / "reasoned.report.json").read_text())["correct_share"] for seed in seeds]
    titles = {name: title for name, (title, _) in METHODS.items()} | {ONE_FRAME: "the paper's, shown one frame"}
    lines = [f"Held-out accuracy in %, mean ± 95 % interval over {len(seeds)} seeds:", ""]
    lines += ["| method | " + " | ".join(TYPES) + " | mean of types |", "|---|" + "---|" * (len(TYPES) + 1)]
    teacher = [interval([share[kind] for share in teachers]) for kind in TYPES]
    teacher.append(interval([mean(share[kind] for kind in TYPES) for share in teachers]))
    lines.append("| the teacher's reasoning, on training clips | " + " | ".join(teacher) + " |")
    for name, title in titles.items():
        cells = [interval([mean(result[name][kind]) for result in results]) for kind in TYPES]
        cells.append(interval([macro(result[name]) for result in results]))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "Differences of the mean of types within a seed, points:", ""]
    lines += ["| difference | mean | seeds above 0 |", "|---|---|---|"]
    for one, other in (
        ("all", "answer"),
        ("all", "correct"),
        ("all", "unrefined"),
        ("all", "thinking"),
        ("all", ONE_FRAME),
    ):
        gaps = [macro(result[one]) - macro(result[other]) for result in results]
        above = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        lines.append(f"| {titles[one]} - {titles[other]} | {interval(gaps)} | {above} |")
    return "\n".join(lines)


def macro(rights: dict[str, list[bool]]) -> float:
    """Return the plain mean over the types."""
    return mean(mean(values) for values in rights.values())


if __name__ == "__main__":
    run_benchmark(steps, report, file=__file__, description=__doc__)
