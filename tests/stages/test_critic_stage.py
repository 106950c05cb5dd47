"""`stage: critic` through the host's own `run_exp`: rated region rows, two to six steps from an untrained tiny Qwen2.5-VL."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llamafactory_hind.engines.interface import Request
from llamafactory_hind.engines.local.critic import FILE, CriticHeads, CriticScorer, pooled_states
from llamafactory_hind.engines.local.encoding import collate, encode
from llamafactory_hind.engines.local.weights import load_weights
from llamafactory_hind.engines.open import open_critic
from llamafactory_hind.evaluation.binary import auroc, calibration_error
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.pipelines.runner.localizing import critic_request
from llamafactory_hind.pipelines.runner.rows import Row
from shared.stages import PLAIN_STEPS, ZERO2, fsdp2, history, loaded, lora, run, same, warm


BASE = {
    "stage": "critic",
    "do_train": True,
    "finetuning_type": "full",
    "template": "qwen2_vl_region",
    "flash_attn": "sdpa",
    "dataset": "rated",
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


def rated_row(number: int, image: str) -> dict[str, Any]:
    good = number % 4 in (0, 2)
    return {
        "id": f"row-{number}",
        "images": [image],
        "regions": [{"box": [2, 3, 30, 28], "label": "thing"}],
        "question": "What is told of <region:0>?",
        "answer": ANSWERS[number % 4],
        "rationale": "<region:0> says so",
        "label": ["accept", "accept" if good else "reject", "reject"],
        "qa_score": 0.8 if good else 0.1,
        "r_score": None if number % 3 == 0 else 0.5,
    }


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rated rows to train on and six to evaluate."""
    folder = tmp_path_factory.mktemp("rated")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    made = [rated_row(number, f"images/{images[number % len(images)]}") for number in range(18)]
    info = {"formatting": "region", "target": "answer_rationale", "region_style": "both"}
    for name, part in (("rated", made[:12]), ("held_out", made[12:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    entries = {name: {"file_name": f"{name}.json", **info} for name in ("rated", "held_out")}
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
    """Four steps of four rows, evaluated, plots."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return run(base, output_dir=str(out), eval_dataset="held_out", do_eval=True, plot_loss=True)


def test_learns_evaluates_and_saves_heads_beside_the_model(plain_run: Path) -> None:
    losses = history(plain_run)
    assert losses[-1] < losses[0]
    results = json.loads((plain_run / "eval_results.json").read_text())
    names = {"loss", "accuracy", "auroc", "average_precision", "calibration_error", "mse/qa", "mse/rationale"}
    assert {f"eval_{name}" for name in names} <= results.keys()
    table = json.loads((plain_run / "eval_thresholds.json").read_text())
    assert [line["threshold"] for line in table][:2] == [0.5, 0.6]
    assert not any("heads" in name for name in loaded(plain_run))
    assert set(load_file(plain_run / FILE)) == set(CriticHeads(8, pooling="last").state_dict())
    assert (plain_run / "training_loss.png").is_file()
    assert len(history(plain_run, "accuracy")) == 4


def test_what_is_saved_is_what_was_trained(base: dict[str, Any], plain_run: Path, tmp_path: Path) -> None:
    """Evaluated again from its folder: the same numbers."""
    again = run(
        base, do_train=False, do_eval=True, max_steps=None, dataset=None, eval_dataset="held_out",
        model_name_or_path=str(plain_run), output_dir=str(tmp_path / "again"), per_device_eval_batch_size=2,
    )  # fmt: skip
    first, second = (json.loads((out / "eval_results.json").read_text()) for out in (plain_run, again))
    for name in ("eval_loss", "eval_auroc", "eval_calibration_error", "eval_mse/qa"):
        assert second[name] == pytest.approx(first[name], abs=1e-5), name


def synth_scores(folder: Path, rows: Path, world: Path) -> list[float]:
    """Score the held-out rows as `pipeline: localized` does with the critic in a folder."""
    scorer = open_critic(str(folder), settings={"template": "qwen2_vl_region", "flash_attn": "sdpa"}, batch_size=4)
    requests = []
    for number, fields in enumerate(json.loads((rows / "held_out.json").read_text())):
        media = {"images": [str(world / fields["images"][0])], "videos": [], "audios": []}
        row = Row(fields["id"], "held_out.json", number, fields, media)
        requests.append(critic_request(row, fields["regions"], fields, style="both"))
    return [score.accept for score in scorer.score(requests)]


def check_synth_scores(out: Path, rows: Path, world: Path) -> None:
    """What `synth` says of the rows is what the evaluation in training said: the calibration error depends on every score."""
    scores = synth_scores(out, rows, world)
    labels = [number % 4 in (0, 2) for number in range(12, 18)]
    results = json.loads((out / "eval_results.json").read_text())
    assert calibration_error(scores, labels) == pytest.approx(results["eval_calibration_error"], abs=1e-5)
    assert auroc(scores, labels) == pytest.approx(results["eval_auroc"])


def test_synth_scores_as_training_evaluates(plain_run: Path, rows: Path, small_world: Path) -> None:
    check_synth_scores(plain_run, rows, small_world)


@pytest.fixture(scope="module")
def weights(base: dict[str, Any]) -> Any:
    return load_weights(base["model_name_or_path"], settings={"template": "qwen2_vl"}, device="cpu")


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooled_states_are_the_models_own(weights: Any, side: str) -> None:
    """Against `output_hidden_states` of each text alone, whatever the padding."""
    texts = ["Why?", "What is told of the ring at the left?"]
    prompts = [encode(weights, Request([{"role": "user", "content": text}])) for text in texts]
    inputs, _ = collate(weights, prompts, padding_side=side)
    if side == "left":
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
    with torch.no_grad():
        last, mean = (pooled_states(weights.model, inputs, pooling=pooling) for pooling in ("last", "mean"))
        for number, prompt in enumerate(prompts):
            alone, _ = collate(weights, [prompt], padding_side="right")
            states = weights.model(**alone, output_hidden_states=True).hidden_states[-1][0, : prompt.length]
            torch.testing.assert_close(last[number], states[-1], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(mean[number], states.mean(0), atol=1e-5, rtol=1e-4)


def test_scores_do_not_depend_on_the_batch(weights: Any) -> None:
    width = weights.model.get_output_embeddings().in_features
    torch.manual_seed(0)
    heads = CriticHeads(width, pooling="last")
    requests = [Request([{"role": "user", "content": f"What is it?\nAnswer: {answer}"}]) for answer in ANSWERS]
    together, alone = (CriticScorer(weights, heads, batch_size=size).score(requests) for size in (3, 1))
    for one, other in zip(together, alone, strict=True):
        assert list(vars(one).values()) == pytest.approx(list(vars(other).values()), abs=1e-5)
    assert len({score.accept for score in alone}) == 4


def test_the_split_into_micro_batches_changes_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    """Twelve rows in an epoch as 5 + 5 + 2 or as 12: every row counts the same."""
    settings |= {**PLAIN_STEPS, "learning_rate": 0.05, "max_steps": 2, "disable_shuffling": True}
    whole = run(settings, per_device_train_batch_size=12)
    parts = run(
        settings, per_device_train_batch_size=5, gradient_accumulation_steps=3, output_dir=str(tmp_path / "parts")
    )
    same(parts, whole, atol=2e-5)
    heads(parts, whole, atol=2e-5)


def heads(first: Path, second: Path, *, atol: float) -> None:
    """The heads of two runs are the same."""
    for name, tensor in load_file(first / FILE).items():
        torch.testing.assert_close(tensor, load_file(second / FILE)[name], atol=atol, rtol=1e-3, msg=name)


def test_lora_trains_adapter_and_heads_and_resumes_bit_for_bit(
    settings: dict[str, Any], rows: Path, small_world: Path, tmp_path: Path
) -> None:
    settings = lora(settings, save_strategy="steps", save_steps=2, eval_dataset="held_out", do_eval=True)
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    part = run(settings, output_dir=str(tmp_path / "part"))
    shutil.rmtree(part / "checkpoint-4")
    again = run(settings, output_dir=str(part))
    assert history(again) == history(whole)
    for file in ("adapter_model.safetensors", FILE):
        expected = load_file(whole / file)
        for name, tensor in load_file(again / file).items():
            assert torch.equal(tensor, expected[name]), name
    assert any(
        tensor.abs().max() > 0
        for name, tensor in load_file(whole / "adapter_model.safetensors").items()
        if "lora_B" in name
    )
    check_synth_scores(whole, rows, small_world)
    evaluated = run(
        settings, do_train=False, max_steps=None, dataset=None, save_strategy="no",
        adapter_name_or_path=str(whole), output_dir=str(tmp_path / "evaluated"),
    )  # fmt: skip
    first, second = (json.loads((out / "eval_results.json").read_text())["eval_loss"] for out in (whole, evaluated))
    assert second == pytest.approx(first, abs=1e-5)


def test_full_tuning_resumes_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"save_strategy": "steps", "save_steps": 2}
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    part = run(settings, output_dir=str(tmp_path / "part"))
    shutil.rmtree(part / "checkpoint-4")
    again = run(settings, output_dir=str(part))
    assert history(again) == history(whole)
    for read in (loaded, lambda out: load_file(out / FILE)):
        for name, tensor in read(whole).items():
            assert torch.equal(read(again)[name], tensor), name


def test_freeze_tuning_moves_the_last_layer_and_the_heads(settings: dict[str, Any], small_world: Path) -> None:
    out = run(settings, finetuning_type="freeze", freeze_trainable_layers=1, max_steps=2)
    before, after = loaded(small_world / "tiny"), loaded(out)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    last = max(int(name.split("layers.")[1].split(".")[0]) for name in after if "layers." in name)
    assert moved
    assert all(f"layers.{last}." in name for name in moved), moved


def test_the_best_checkpoint_is_saved_with_its_heads(settings: dict[str, Any]) -> None:
    out = run(
        settings, learning_rate=3.0e-2, eval_dataset="held_out", eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, load_best_model_at_end=True, metric_for_best_model="eval_mse/qa",
        greater_is_better=True,  # the worst on purpose: not the last
    )  # fmt: skip
    best = json.loads((out / "trainer_state.json").read_text())["best_model_checkpoint"]
    for name, tensor in load_file(Path(best) / FILE).items():
        assert torch.equal(load_file(out / FILE)[name], tensor), name
    for name, tensor in loaded(Path(best)).items():
        assert torch.equal(loaded(out)[name], tensor), name


def test_a_row_that_nobody_rated_is_named(settings: dict[str, Any], rows: Path, tmp_path: Path) -> None:
    shutil.copytree(rows, tmp_path / "bad")
    made = json.loads((rows / "rated.json").read_text())
    del made[3]["label"]
    (tmp_path / "bad" / "rated.json").write_text(json.dumps(made))
    with pytest.raises(BadRowsError, match=r"row 4.*field `label`"):
        run(settings, dataset_dir=str(tmp_path / "bad"))
    out = run(settings, dataset_dir=str(tmp_path / "bad"), skip_bad_rows=True, max_steps=1)
    assert len(history(out)) == 1


@pytest.mark.slow
def test_fsdp2_equals_one_process(settings: dict[str, Any], tmp_path: Path) -> None:
    """Half of every weight on each of two processes; the heads are saved whole beside the model."""
    settings |= {**PLAIN_STEPS, "learning_rate": 0.05, "eval_dataset": "held_out", "do_eval": True}
    one = run(settings, output_dir=str(tmp_path / "one"))
    fsdp2({**settings, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 4}, tmp_path / "fsdp")
    out = Path(settings["output_dir"])
    same(out, one, atol=1e-5)
    heads(out, one, atol=1e-5)
    found, expected = (json.loads((folder / "eval_results.json").read_text()) for folder in (out, one))
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-5)


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """DDP and ZeRO-2 over two processes of two rows each are one process of four; evaluation counts no row twice."""
    settings |= {**PLAIN_STEPS, "learning_rate": 0.05, "eval_dataset": "held_out", "do_eval": True}
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
        found, expected = (json.loads((folder / "eval_results.json").read_text()) for folder in (out, one))
        assert found["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-5)
        assert found["eval_auroc"] == expected["eval_auroc"]
