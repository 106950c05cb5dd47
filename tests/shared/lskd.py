"""Rows and settings for runs of `stage: lskd`, and the numbers of their evaluations."""

import json
from pathlib import Path
from typing import Any


BASE = {
    "stage": "lskd",
    "do_train": True,
    "finetuning_type": "full",
    "template": "qwen2_vl_region",
    "flash_attn": "sdpa",
    "dataset": "triples",
    "cutoff_len": 1024,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1.0e-3,
    "lr_scheduler_type": "constant",
    "max_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "seed": 3,
    "disable_gradient_checkpointing": True,
    "preprocessing_num_workers": 1,
    "dataloader_num_workers": 0,
}
ANSWERS = ("a dax eats moss", "bells", "the red ring is at the left", "it lives in caves")
NUMBERS = ("loss", "loss/itc", "loss/itm", "loss/lm", "itc_recall_at_1", "itm_accuracy")


def triple(number: int, image: str) -> dict[str, Any]:
    return {
        "id": f"row-{number}",
        "images": [image],
        "regions": [{"box": [2, 3, 30, 28], "label": "thing"}],
        "question": "What is told of <region:0>?",
        "answer": ANSWERS[number % 4],
        "rationale": "<region:0> says so" + " again" * (number % 3),
    }


def write_rows(folder: Path, world: Path, *, region_style: str) -> Path:
    """Write twelve rows over five pictures of the small world to train on, and six to evaluate."""
    images = sorted(path.name for path in (world / "images").glob("*.png"))
    made = [triple(number, f"images/{images[number % 5]}") for number in range(18)]
    info = {"formatting": "region", "target": "answer_rationale", "region_style": region_style}
    for name, part in (("triples", made[:12]), ("held_out", made[12:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    entries = {name: {"file_name": f"{name}.json", **info} for name in ("triples", "held_out")}
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    return folder


def numbers(out: Path) -> dict[str, float]:
    found = json.loads((out / "eval_results.json").read_text())
    return {name: found[f"eval_{name}"] for name in NUMBERS}
