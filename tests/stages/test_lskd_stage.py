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
from shared.lskd import BASE, numbers, write_rows
from shared.stages import PLAIN_STEPS, ZERO2, command, history, loaded, lora, run, same, warm


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows over five pictures to train on, six to evaluate."""
    return write_rows(tmp_path_factory.mktemp("triples"), small_world, region_style="both")


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


def test_learns_evaluates_and_saves_heads_beside_the_model(plain_run: Path) -> None:
    losses = history(plain_run)
    assert losses[-1] < losses[0]
    for name in ("itc", "itm", "lm"):
        assert len(history(plain_run, f"loss/{name}")) == 6
    sums = [
        sum(parts)
        for parts in zip(*(history(plain_run, f"loss/{name}") for name in ("itc", "itm", "lm")), strict=True)
    ]
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


def test_without_contrast_and_match_it_is_the_hosts_sft(settings: dict[str, Any], tmp_path: Path) -> None:
    """Bit for bit: losses and weights."""
    ours = run(settings, itc_weight=0.0, itm_weight=0.0, max_steps=3, output_dir=str(tmp_path / "ours"))
    host = run(settings, stage="sft", max_steps=3, output_dir=str(tmp_path / "host"))
    assert history(ours) == history(host)
    expected = loaded(host)
    for name, tensor in loaded(ours).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_resumes_bit_for_bit(settings: dict[str, Any], tmp_path: Path, tuning: str) -> None:
    """Negatives are drawn alike, whatever came before; with LoRA two micro-batches a step."""
    settings |= {
        "save_strategy": "steps",
        "save_steps": 2,
        "gradient_accumulation_steps": 2 if tuning == "lora" else 1,
    }
    settings = lora(settings) if tuning == "lora" else settings
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    part = run(settings, output_dir=str(tmp_path / "part"))
    shutil.rmtree(part / "checkpoint-4")
    again = run(settings, output_dir=str(part))
    assert history(again) == history(whole)
    model = "adapter_model.safetensors" if tuning == "lora" else "model.safetensors"
    for file in (model, FILE):
        expected = load_file(whole / file)
        for name, tensor in load_file(again / file).items():
            assert torch.equal(tensor, expected[name]), name
    if tuning == "lora":
        assert any("lora_B" in name and tensor.abs().max() > 0 for name, tensor in load_file(whole / model).items())


def test_freeze_tuning_moves_the_last_layer_and_the_heads(settings: dict[str, Any], small_world: Path) -> None:
    out = run(settings, finetuning_type="freeze", freeze_trainable_layers=1, max_steps=2)
    before, after = loaded(small_world / "tiny"), loaded(out)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    last = max(int(name.split("layers.")[1].split(".")[0]) for name in after if "layers." in name)
    assert moved
    assert all(f"layers.{last}." in name for name in moved), moved


def test_heads_without_a_weight_are_not_trained(settings: dict[str, Any], tmp_path: Path) -> None:
    """The match alone: projections, temperature and the output head stay; the next run begins with these heads."""
    out = run(settings, itc_weight=0.0, lm_weight=0.0, max_steps=2)
    first = load_file(out / FILE)
    more = run(
        settings,
        model_name_or_path=str(out),
        itc_weight=0.0,
        lm_weight=0.0,
        max_steps=2,
        output_dir=str(tmp_path / "b"),
    )
    second = load_file(more / FILE)
    assert {name for name in first if not torch.equal(first[name], second[name])} == {"match.weight", "match.bias"}
    assert torch.equal(loaded(out)["lm_head.weight"], loaded(more)["lm_head.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"images": [], "regions": [], "question": "What?", "rationale": "so"},
            "a picture, which the text is matched with",
        ),
        ({"question": "What is told <image> of <region:0>?"}, "media before the text"),
    ],
)
def test_a_row_that_cannot_be_matched_is_named(
    settings: dict[str, Any], rows: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    shutil.copytree(rows, tmp_path / "bad")
    made = json.loads((rows / "triples.json").read_text())
    made[3] |= fields
    (tmp_path / "bad" / "triples.json").write_text(json.dumps(made))
    with pytest.raises(BadRowsError, match=message):
        run(settings, dataset_dir=str(tmp_path / "bad"))
    out = run(settings, dataset_dir=str(tmp_path / "bad"), skip_bad_rows=True, max_steps=1)
    assert len(history(out)) == 1


def test_a_batch_of_one_picture_has_no_negatives(settings: dict[str, Any]) -> None:
    """One row a batch: the contrast is log 1 = 0, the match that of the own pair, and nothing fails."""
    out = run(settings, per_device_train_batch_size=1, max_steps=2)
    assert history(out, "loss/itc") == [0.0, 0.0]
    assert all(value > 0 for value in history(out, "loss/itm"))


@pytest.mark.slow
def test_the_real_command_line(settings: dict[str, Any], tmp_path: Path, plain_run: Path) -> None:
    """`llamafactory-cli train` gives what the same run in this process gave."""
    command({**settings, "eval_dataset": "held_out", "do_eval": True, "max_steps": 6}, tmp_path / "run")
    out = Path(settings["output_dir"])
    assert history(out) == pytest.approx(history(plain_run), abs=1e-5)
    assert numbers(out) == pytest.approx(numbers(plain_run), abs=1e-4)


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """DDP and ZeRO-2 over two processes of two rows each are one process of four: features, texts and negatives are gathered."""
    settings |= {**PLAIN_STEPS, "learning_rate": 0.02, "max_steps": 2, "eval_dataset": "held_out", "do_eval": True}
    one = run(settings, output_dir=str(tmp_path / "one"))
    settings |= {
        "per_device_train_batch_size": 2,
        "ddp_find_unused_parameters": False,
        "per_device_eval_batch_size": 4,
    }
    (tmp_path / "zero2.json").write_text(json.dumps(ZERO2))
    for name, more in (("ddp", {}), ("deepspeed", {"deepspeed": str(tmp_path / "zero2.json")})):
        out = tmp_path / f"{name}-out"
        warm({**settings, **more, "output_dir": str(out)}, tmp_path / name, ranks=2).finish()
        same(out, one, atol=3e-5)
        heads(out, one, atol=3e-5)
        found, expected = numbers(out), numbers(one)
        for number in (
            "loss/itc",
            "loss/lm",
            "itc_recall_at_1",
        ):  # the match is judged within the batches of a process
            assert found[number] == pytest.approx(expected[number], abs=1e-5), number
