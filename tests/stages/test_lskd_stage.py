"""`stage: lskd` through the host's own `run_exp`: region rows with drawn marks, two to six steps from an untrained tiny Qwen2.5-VL."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llamafactory_hind.engines.local.matching.heads import FILE, MatchingHeads
from llamafactory_hind.formats.problems import BadRowsError
from shared.stages import PLAIN_STEPS, ZERO2, command, history, loaded, lora, run, same, warm


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


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows over five pictures to train on, six to evaluate."""
    folder = tmp_path_factory.mktemp("triples")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    made = [triple(number, f"images/{images[number % 5]}") for number in range(18)]
    info = {"formatting": "region", "target": "answer_rationale", "region_style": "both"}
    for name, part in (("triples", made[:12]), ("held_out", made[12:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    entries = {name: {"file_name": f"{name}.json", **info} for name in ("triples", "held_out")}
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="module")
def base(small_world: Path, rows: Path) -> dict[str, Any]:
    places = {"model_name_or_path": small_world / "tiny", "dataset_dir": rows, "media_dir": small_world}
    return {**BASE, **{name: str(path) for name, path in places.items()}}


@pytest.fixture
def settings(base: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of four steps."""
    return {**base, "output_dir": str(tmp_path / "out")}


@pytest.fixture(scope="module")
def plain_run(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of four rows, evaluated, plots."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return run(base, output_dir=str(out), eval_dataset="held_out", do_eval=True, plot_loss=True, max_steps=6)


def heads(first: Path, second: Path, *, atol: float) -> None:
    """The heads of two runs are the same."""
    for name, tensor in load_file(first / FILE).items():
        torch.testing.assert_close(tensor, load_file(second / FILE)[name], atol=atol, rtol=1e-3, msg=name)


def numbers(out: Path) -> dict[str, float]:
    found = json.loads((out / "eval_results.json").read_text())
    return {name: found[f"eval_{name}"] for name in NUMBERS}


def test_learns_evaluates_and_saves_heads_beside_the_model(plain_run: Path) -> None:
    losses = history(plain_run)
    assert losses[-1] < losses[0]
    for name in ("itc", "itm", "lm"):
        assert len(history(plain_run, f"loss/{name}")) == 6
    sums = [sum(parts) for parts in zip(*(history(plain_run, f"loss/{name}") for name in ("itc", "itm", "lm")), strict=True)]
    assert sums == pytest.approx(losses, abs=1e-3)
    found = numbers(plain_run)
    assert found["loss"] == pytest.approx(found["loss/itc"] + found["loss/itm"] + found["loss/lm"])
    assert not any("heads" in name for name in loaded(plain_run))
    assert set(load_file(plain_run / FILE)) == set(MatchingHeads(8).state_dict())
    assert (plain_run / "training_loss.png").is_file()
    temperatures = history(plain_run, "temperature")
    assert temperatures[0] == pytest.approx(0.07)
    assert temperatures[-1] != temperatures[0]


def test_what_is_saved_is_what_was_trained(base: dict[str, Any], plain_run: Path, tmp_path: Path) -> None:
    """Evaluated again from its folder: the same numbers."""
    again = run(
        base, do_train=False, do_eval=True, max_steps=None, dataset=None, eval_dataset="held_out",
        model_name_or_path=str(plain_run), output_dir=str(tmp_path / "again"),
    )  # fmt: skip
    assert numbers(again) == pytest.approx(numbers(plain_run), abs=1e-5)
