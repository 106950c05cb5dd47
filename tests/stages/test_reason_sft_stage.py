"""`stage: reason_sft` through the host's own `run_exp` and `llamafactory-cli`: real images, video and text rows, two to eight steps.

Each run starts from the same untrained tiny Qwen2.5-VL; what is compared is what the host wrote to disk.
"""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llamafactory_hind.stages.reason_sft import score_answers
from llamafactory_hind.trainers import sharding
from shared.stages import ZERO2, command, found_problems, fsdp2, history, loaded, lora, run, same, wait_for, warm


BASE = {
    "stage": "reason_sft",
    "do_train": True,
    "finetuning_type": "full",
    "template": "qwen2_vl",
    "flash_attn": "sdpa",
    "dataset": "both",
    "cutoff_len": 1024,
    "per_device_train_batch_size": 2,
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
# Adam would blow the last digit of a gradient near 0 up to a step, and which one is near 0 depends on the pictures.
PLAIN_STEPS = {"optim": "sgd", "learning_rate": 0.1}


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen rows over the small world, one image, two, video, text, in turn; some lack a task. Eight more to evaluate."""
    folder = tmp_path_factory.mktemp("rows")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    clip = next((small_world / "clips").glob("*.mp4")).name
    media = [
        lambda i: {"images": [f"images/{images[i]}"]},
        lambda i: {"images": [f"images/{images[i]}", f"images/{images[i + 1]}"]},
        lambda i: {"videos": [f"clips/{clip}"]},
        lambda i: {},
    ]
    answers = ["moss", "bells", "the red ring", "caves"]
    reasons = [
        "a dax eats what grows in caves",
        "it fears bells",
        "the ring is red and at the left of it",
        "so it does",
    ]
    both = []
    for i in range(24):
        row = {
            "id": f"row-{i}",
            "question": f"What is told of thing {i}?",
            "images": [],
            "videos": [],
            **media[i % 4](i),
        }
        both.append(row | {"answer": answers[i % 3], "cot": [reasons[i % 4], "so"] if i % 5 else reasons[i % 4]})
    both[6]["answer"], both[9]["cot"] = None, None
    alike = [{**row, "answer": answers[i % 4], "cot": answers[i % 4]} for i, row in enumerate(both)]
    written = {"both": both[:16], "alike": alike[:16], "held_out": both[16:]}
    info = {}
    for name, part in written.items():
        (folder / f"{name}.json").write_text(json.dumps(part))
        info[name] = {"file_name": f"{name}.json", "formatting": "hindsight", "target": "multitask"}
    answered = [row for row in both[:16] if row["answer"]]
    (folder / "answers.json").write_text(json.dumps(answered))
    (folder / "reasons.json").write_text(json.dumps([row for row in both[:16] if row["cot"]]))
    info |= {
        name: {"file_name": f"{name}s.json", "formatting": "hindsight", "target": target}
        for name, target in (("answer", "answer"), ("reason", "cot"))
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def settings(small_world: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of four steps."""
    return {**BASE, **places(small_world, rows, tmp_path / "out")}


def places(world: Path, rows: Path, out: Path) -> dict[str, str]:
    return {
        "model_name_or_path": str(world / "tiny"),
        "dataset_dir": str(rows),
        "media_dir": str(world),
        "output_dir": str(out),
    }


@pytest.fixture(scope="module")
def plain_run(small_world: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of two rows, evaluated every second step with written answers, plots."""
    return run(
        {**BASE, **places(small_world, rows, tmp_path_factory.mktemp("plain") / "out")},
        reason_weight=0.5,
        eval_dataset="held_out",
        eval_strategy="steps",
        eval_steps=2,
        do_eval=True,
        evaluate_answers=True,
        max_new_tokens=4,
        plot_loss=True,
    )


def test_both_losses_are_logged_plotted_and_add_up(plain_run: Path) -> None:
    losses, answer, reason = (history(plain_run, name) for name in ("loss", "loss/answer", "loss/reason"))
    assert losses == pytest.approx([a + 0.5 * r for a, r in zip(answer, reason, strict=True)], abs=1e-5)
    assert answer[-1] < answer[0]
    assert reason[-1] < reason[0]
    (line, *_) = [json.loads(line) for line in (plain_run / "trainer_log.jsonl").read_text().splitlines()]
    assert {"loss", "loss/answer", "loss/reason", "tokens_per_second", "peak_memory_gib", "lr"} <= line.keys()
    for plot in ("loss", "loss_answer", "loss_reason", "eval_loss", "eval_loss_answer", "eval_loss_reason"):
        assert (plain_run / f"training_{plot}.png").read_bytes().startswith(b"\x89PNG"), plot


def test_evaluation_has_both_losses_and_the_written_answers(plain_run: Path) -> None:
    results = json.loads((plain_run / "eval_results.json").read_text())
    parts = results["eval_loss/answer"] + 0.5 * results["eval_loss/reason"]
    assert results["eval_loss"] == pytest.approx(parts, abs=1e-6)
    assert history(plain_run, "eval_loss")[-1] == pytest.approx(results["eval_loss"])
    lines = [json.loads(line) for line in (plain_run / "evaluation_answers" / "eval-4.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"row-{i}" for i in range(16, 24)]
    scores = [line["score"] for line in lines]
    assert results["eval_accuracy/answer"] == pytest.approx(sum(scores) / 8)
    assert all(isinstance(line["predict"], str) and line["label"] for line in lines)


def test_evaluation_does_not_depend_on_batches_or_sharing(plain_run: Path, settings: dict[str, Any]) -> None:
    out = run(
        settings,
        do_train=False,
        do_eval=True,
        max_steps=None,
        dataset=None,
        eval_dataset="held_out",
        model_name_or_path=str(plain_run),
        reason_weight=0.5,
        per_device_eval_batch_size=3,
        share_prefix="off",
    )
    results, trained = (json.loads((folder / "eval_results.json").read_text()) for folder in (out, plain_run))
    for name in ("eval_loss", "eval_loss/answer", "eval_loss/reason"):
        assert results[name] == pytest.approx(trained[name], abs=1e-5)
    assert "eval_accuracy/answer" not in results


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_without_reasoning_it_is_the_hosts_sft_bit_for_bit(
    settings: dict[str, Any], tuning: str, tmp_path: Path
) -> None:
    """The same rows in the same order, dropout of the LoRA and all: losses, gradient norms and weights are equal, not close."""
    if tuning == "lora":
        settings = lora(settings, lora_dropout=0.1)
    ours = run(settings, reason_weight=0.0)
    host = run(settings, stage="sft", dataset="answer", output_dir=str(tmp_path / "host"))
    assert history(host)[-1] < history(host)[0]
    for name in ("loss", "grad_norm"):
        assert history(ours, name) == history(host, name)
    file = "model.safetensors" if tuning == "full" else "adapter_model.safetensors"
    one, two = load_file(ours / file), load_file(host / file)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_equals_the_hosts_sft_on_the_mixed_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    """Both texts of a row have as many tokens: L_answer + L_reason is twice the host's mean over all, at half the step size."""
    settings |= {"dataset": "alike", "disable_shuffling": True, "max_grad_norm": 0.0, "optim": "sgd"}
    ours = run(settings, reason_weight=1.0, learning_rate=0.05)
    changes = {"per_device_train_batch_size": 4, "learning_rate": 0.1, "output_dir": str(tmp_path / "host")}
    host = run(settings, stage="sft", **changes)
    assert history(host)[-1] < history(host)[0] - 0.01
    assert history(ours) == pytest.approx([2 * loss for loss in history(host)], abs=1e-4)
    one, two = loaded(ours), loaded(host)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-5, rtol=1e-3, msg=name)


def test_sharing_the_prompt_changes_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= PLAIN_STEPS
    shared = run(settings, share_prefix="on", output_dir=str(tmp_path / "shared"))
    assert history(shared)[-1] < history(shared)[0] - 0.005  # the weights did move
    same(shared, run(settings, share_prefix="off"), atol=2e-5)
    checkpointed = run(settings, disable_gradient_checkpointing=False, output_dir=str(tmp_path / "checkpointed"))
    same(shared, checkpointed, atol=2e-5)


def test_accumulation_is_one_large_batch(settings: dict[str, Any], tmp_path: Path) -> None:
    """Rows of different lengths, some without a task: each task is a mean over its tokens of the whole step."""
    settings |= {**PLAIN_STEPS, "max_steps": 2, "reason_weight": 0.7}
    whole = run(settings, per_device_train_batch_size=8)
    changes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    parts = run(settings, **changes, output_dir=str(tmp_path / "parts"))
    same(whole, parts, atol=2e-5)
    for name in ("loss/answer", "loss/reason"):
        assert history(whole, name) == pytest.approx(history(parts, name), abs=1e-5)


class Messages(logging.Handler):
    """Collects what the host's logger and ours say."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def host_log() -> Iterator[Messages]:
    handler = Messages()
    logging.getLogger("llamafactory").addHandler(handler)
    yield handler
    logging.getLogger("llamafactory").removeHandler(handler)


def test_sharing_that_would_change_the_numbers_is_noticed(
    settings: dict[str, Any], host_log: Messages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a mask that lets the reasoning see the answer, `auto` falls back and says so, `on` refuses."""

    def leaking(model: torch.nn.Module, inputs: dict[str, Any], segments: torch.Tensor) -> torch.Tensor:
        length = segments.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril().expand(len(segments), 1, length, length)

    monkeypatch.setattr("llamafactory_hind.trainers.multitask.losses.packed_masks", leaking)
    run(settings, max_steps=1)
    assert any("fell back to one row a text, because packed log-probs differ" in said for said in host_log.said)
    with pytest.raises(ValueError, match="`share_prefix: on` is not possible with this model: packed log-probs"):
        run(settings, share_prefix="on", output_dir=str(tmp_path / "on"))


def test_a_task_that_is_missing_is_said(settings: dict[str, Any], host_log: Messages, tmp_path: Path) -> None:
    """Reasoning alone trains with a warning; with `reason_weight: 0` nothing would be left. Datasets of one task mix."""
    reasons = run(settings, dataset="reason", max_steps=1)
    assert history(reasons) == pytest.approx(history(reasons, "loss/reason"))
    assert not history(reasons, "loss/answer")
    assert any("No row has an answer task" in said for said in host_log.said)
    with pytest.raises(ValueError, match="no row has an answer task"):
        run(settings, dataset="reason", reason_weight=0.0, output_dir=str(tmp_path / "none"))
    changes = {"max_steps": 1, "per_device_train_batch_size": 8, "output_dir": str(tmp_path / "mixed")}
    mixed = run(settings, dataset="answer,reason", **changes)
    assert any("30 rows with 15 answer, 15 cot" in said for said in host_log.said)
    assert history(mixed, "loss/answer")


def test_lora_and_freeze(settings: dict[str, Any], small_world: Path, tmp_path: Path) -> None:
    """LoRA also on the output head; freeze tuning moves the last layer alone."""
    adapted = run(lora(settings, lora_target="q_proj,lm_head", share_prefix="on"))
    assert any("lm_head" in name for name in load_file(adapted / "adapter_model.safetensors"))
    assert history(adapted)[-1] < history(adapted)[0]
    changes = {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "output_dir": str(tmp_path / "freeze")}
    out = run(settings, **changes, max_steps=1)
    before, after = loaded(small_world / "tiny"), loaded(out)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    last = max(int(name.split("layers.")[1].split(".")[0]) for name in after if "layers." in name)
    assert moved
    assert all(f"layers.{last}." in name for name in moved), moved


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL once the checkpoint of step 2 is whole; the second command resumes from it and ends where one run would."""
    settings |= {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    process = warm(settings, file)
    wait_for(out / "checkpoint-2" / "trainer_state.json", process)
    process.kill()
    assert not (out / "model.safetensors").exists()
    command(settings, file)
    assert "Resuming training from" in file.with_suffix(".log").read_text()
    assert history(out) == pytest.approx(history(whole), abs=1e-6)
    one, two = loaded(out), loaded(whole)
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """DDP over two processes is one process of all rows; ZeRO-2 on the CPU too. Evaluated alike, answers written once each."""
    settings |= {**PLAIN_STEPS, "max_steps": 2, "eval_dataset": "held_out", "do_eval": True, "reason_weight": 0.7}
    settings |= {"evaluate_answers": True, "max_new_tokens": 2, "per_device_eval_batch_size": 3}
    one = run(settings, output_dir=str(tmp_path / "one"), per_device_train_batch_size=4)
    settings |= {"ddp_find_unused_parameters": False}
    (tmp_path / "zero2.json").write_text(json.dumps(ZERO2))
    for name, changes in (("ddp", {}), ("zero2", {"deepspeed": str(tmp_path / "zero2.json")})):
        out = tmp_path / name
        warm({**settings, **changes, "output_dir": str(out)}, tmp_path / f"{name}_run", ranks=2).finish()
        same(out, one, atol=3e-5)
        results, expected = (json.loads((folder / "eval_results.json").read_text()) for folder in (out, one))
        for key in ("eval_loss", "eval_loss/answer", "eval_loss/reason", "eval_accuracy/answer"):
            assert results[key] == pytest.approx(expected[key], abs=1e-4), key
        assert len((out / "evaluation_answers" / "eval-2.jsonl").read_text().splitlines()) == 8


@pytest.mark.slow
def test_fsdp2_equals_one_process(settings: dict[str, Any], tmp_path: Path) -> None:
    """Half of every weight on each of two processes: trained, evaluated, answers written once each."""
    settings |= {**PLAIN_STEPS, "eval_dataset": "held_out", "do_eval": True, "reason_weight": 0.7}
    settings |= {"evaluate_answers": True, "max_new_tokens": 2, "per_device_eval_batch_size": 3}
    settings |= {"eval_strategy": "steps", "eval_steps": 2}
    one = run(settings, output_dir=str(tmp_path / "one"), per_device_train_batch_size=4)
    fsdp2(settings, tmp_path / "fsdp")
    out = Path(settings["output_dir"])
    same(out, one, atol=1e-5)
    results, expected = (json.loads((folder / "eval_results.json").read_text()) for folder in (out, one))
    for key in ("eval_loss", "eval_loss/answer", "eval_loss/reason", "eval_accuracy/answer"):
        assert results[key] == pytest.approx(expected[key], abs=1e-5), key
    assert len((out / "evaluation_answers" / "eval-4.jsonl").read_text().splitlines()) == 8


def test_a_split_model_is_refused(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for it: what counts is what the accelerator says."""
    monkeypatch.setattr(sharding, "sharding_of", lambda accelerator: "zero_3")
    with pytest.raises(ValueError, match=r"accelerator\.distributed_type: .* expected no DeepSpeed ZeRO-3"):
        run(settings)


def test_wrong_keys_are_found() -> None:
    given = {"stage": "reason_sft", "reason_weight": -1.0, "temperature": 0.5, "streaming": True}
    found = found_problems(given)
    assert set(found) == {"reason_weight", "temperature", "streaming"}
    assert "0 or more" in found["reason_weight"]
    assert set(found_problems({"stage": "reason_sft", "reason_weight": math.inf})) == {"reason_weight"}
    assert not found_problems({"stage": "reason_sft", "reason_weight": 0})
    assert set(found_problems({"stage": "reason_sft", "evaluate_answers": True})) == {"evaluate_answers"}
    assert set(found_problems({"stage": "sft", "reason_weight": 1.0})) == {"reason_weight"}


def test_answers_are_scored_as_their_rows_allow() -> None:
    """Choices by letter or text; ten references by the official VQA rule, 2 of 10 give (8 * 2/3 + 2 * 1/3) / 10; else the text."""
    rows = [
        {"answer": "dog", "choices": ["cat", "dog"]},
        {"answer": "dog", "choices": ["cat", "dog"]},
        {"answer": "fish", "answers": ["fish"] * 2 + ["eel"] * 8},
        {"answer": "fish"},
        {"answer": "fish"},
        {},
    ]
    scores = score_answers(["(B)", "cat", "fish", "fish", "eel", "fish"], rows)
    assert scores[:2] == [1.0, 0.0]
    assert scores[2] == pytest.approx((8 * 2 + 2 * 1) / 30)
    assert scores[3:5] == [1.0, 0.0]
    assert scores[5] is None
