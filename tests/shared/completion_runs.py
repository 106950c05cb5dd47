"""Runs with completions on disk, as the trainer writes them, without a trainer: for the browser."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from llamafactory_hind.storage.completion_files import (
    evaluation_file,
    join_steps,
    step_file,
    table_of,
    write_run_record,
)


WORDS = [
    "red",
    "blue",
    "cube",
    "ball",
    "eats",
    "under",
    "left",
    "of",
    "the",
    "a",
    "moss",
    "fern",
    "stone",
    "drum",
    "small",
    "large",
    "thing",
    "where",
    "because",
]


def entry(step: int, group: int, sample: int, **more: Any) -> dict[str, Any]:
    """One completion."""
    return {
        "step": step,
        "process": 0,
        "group": group,
        "row_id": f"row-{group}",
        "split": "train",
        "sample": sample,
        "source": "policy",
        "kept": True,
        "tokens": 5,
        "finish_reason": "stop",
        "reward": 0.0,
        "reward/accuracy": 0.0,
        "advantage": 0.0,
        "epoch": 0.1,
        "completion": f"step {step} group {group} sample {sample}",
        "extra": "{}",
        "boxes": None,
        "hints": None,
        "media": json.dumps({"images": [], "videos": [], "audios": []}),
        "prompt": f"user\nquestion {group}\nassistant\n",
        "conversation": None,
        "columns": json.dumps({"answer": "blue", "prompt": f"<image>question {group}"}),
        **more,
    }


def write_step(run: Path, step: int, entries: list[dict[str, Any]], process: int = 0) -> None:
    """Write the file of a step."""
    (run / "completions").mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(entries), step_file(run / "completions", step, process))


def write_evaluation(run: Path, step: int, entries: list[dict[str, Any]], name: str = "") -> None:
    """Write the file of an evaluation."""
    (run / "completions").mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(entries), evaluation_file(run / "completions", step, 0, name))


def describe(run: Path, media_dir: Path, **more: Any) -> None:
    """Write what a reader must know of the run."""
    write_run_record(run / "completions", {"stage": "grpo", "media_dir": str(media_dir.resolve()), **more})


def gated_run(run: Path, media: Path) -> Path:
    """Three steps of two prompts: pictures with boxes, a completion that was passed over, a hint that failed, a gate, no reward."""
    (media / "images").mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.new("RGB", (200, 100), (40 * number, 90, 160)).save(media / "images" / f"p{number}.png")
    boxes = [
        {"image": 0, "box": [20, 10, 60, 50], "label": "red cube", "origin": "row"},
        {"image": 0, "box": [100, 40, 180, 90], "label": None, "origin": "model"},
    ]
    hints = [
        {"attempt": 0, "hint": None, "fate": "failed: no answer"},
        {"attempt": 1, "hint": "look left", "fate": "rejected: leak", "accepted": 0, "leak": 2},
    ]
    for step in (1, 2, 3):
        entries = []
        for group in range(2):
            shared = {
                "media": json.dumps({"images": [f"images/p{group}.png"], "videos": [], "audios": []}),
                "boxes": json.dumps(boxes) if group == 0 else None,
                "hints": json.dumps(hints) if group == 0 else None,
            }
            for sample in range(3):
                right = float(sample < step - group)
                numbers = {"reward": right, "reward/accuracy": right, "advantage": right - 0.5, "stream/gate": right}
                entries.append(entry(step, group, sample, **shared, **numbers))
            hinted = {"source": "hinted", "extra": json.dumps({"hint": "look right"}), "finish_reason": "length"}
            entries.append(entry(step, group, 3, **shared, reward=None, **hinted))
            entries[-1]["reward/accuracy"] = None
            entries.append(entry(step, group, 0, **shared, kept=False, advantage=None, completion="passed over"))
        write_step(run, step, entries)
    write_evaluation(run, 3, [entry(3, 0, 0, split="eval", kept=False, advantage=None, completion="greedy")])
    describe(run, media, gate={"reward": "accuracy", "threshold": 1.0, "rule": "accuracy >= 1.0"})
    return run


def large_run(
    run: Path, *, steps: int = 1563, a_step: int = 64, group: int = 8, joined: int = 0, words: int = 120, seed: int = 0
) -> int:
    """Write a run of about 100,000 completions, in files a step; those up to step `joined` are joined. Return how many there are.

    With 120 `words`, prompts have about 600 letters and completions about 700, as in the measurements of the design.
    """
    drawn = random.Random(seed)
    texts = [" ".join(drawn.choices(WORDS, k=words + words // 12)) for _ in range(500)]
    questions = [" ".join(drawn.choices(WORDS, k=words - words // 12)) for _ in range(400)]
    for step in range(1, steps + 1):
        entries = []
        for place in range(a_step // group):
            number = drawn.randrange(len(questions))
            for sample in range(group):
                reward = drawn.choice([0.0, 0.5, 1.0])
                entries.append(
                    entry(
                        step,
                        place,
                        sample,
                        row_id=f"row-{number}",
                        reward=reward,
                        completion=f"{drawn.choice(texts)} #{step}",
                        prompt=questions[number],
                        source="hinted" if drawn.random() < 0.1 else "policy",
                        finish_reason="length" if drawn.random() < 0.2 else "stop",
                        **{"reward/accuracy": float(reward == 1), "stream/gate": float(reward == 1)},
                    )
                )
        write_step(run, step, entries)
    if joined:
        join_steps(run / "completions", joined)
    describe(run, run)
    return steps * (a_step // group) * group
