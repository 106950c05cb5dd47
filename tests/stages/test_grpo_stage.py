"""`stage: grpo` through the host's own `run_exp` and `llamafactory-cli`: real images, video and text rows, a few steps.

Each run starts from the same untrained tiny Qwen2.5-VL; what is compared is what the host wrote to disk.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from shared.stages import (
    BASE,
    PLAIN_STEPS,
    ZERO2,
    command,
    found_problems,
    fsdp2,
    history,
    loaded,
    lora,
    places,
    run,
    same,
    wait_for,
    warm,
    write_prompts,
)


@pytest.fixture(scope="module")
def prompts(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rollout rows over the small world: one image, two images, text, video in turn; four more to evaluate."""
    folder = tmp_path_factory.mktemp("prompts")
    return write_prompts(small_world, folder)


@pytest.fixture
def settings(small_world: Path, prompts: Path, tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of four steps."""
    return {**BASE, **places(small_world, prompts, tmp_path / "out")}


@pytest.fixture(scope="module")
def plain_run(small_world: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that others are compared with: evaluated every second step, with plots."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return run(
        {**BASE, **places(small_world, prompts, out)},
        eval_dataset="held_out",
        eval_strategy="steps",
        eval_steps=2,
        do_eval=True,
        plot_loss=True,
        report_to="tensorboard",
    )


def test_logs_every_metric_where_the_host_logs(plain_run: Path) -> None:
    names = {
        "reward",
        "rewards/vowels",
        "reward_std",
        "advantage_abs",
        "completion_length",
        "truncated_share",
        "entropy",
    }
    names |= {
        "zero_variance_share",
        "clip/low",
        "clip/high",
        "clip/region",
        "ratio",
        "loss/policy",
        "tokens_per_second",
    }
    names |= {"timing/rollout", "timing/reward", "timing/loss", "peak_memory_gib"}
    for name in names:
        assert len(history(plain_run, name)) == 4, name
    lines = [json.loads(line) for line in (plain_run / "trainer_log.jsonl").read_text().splitlines()]
    assert names <= lines[0].keys()
    assert {"loss", "lr", "epoch", "current_steps", "remaining_time"} <= lines[0].keys()
    assert list(plain_run.glob("runs/*/events*"))
    for plot in ("loss", "reward", "completion_length", "eval_reward"):
        assert (plain_run / f"training_{plot}.png").read_bytes().startswith(b"\x89PNG")
    assert history(plain_run, "ratio") == pytest.approx([1.0] * 4)  # one step on each rollout


def test_evaluates_greedy_and_sampled(plain_run: Path) -> None:
    results = json.loads((plain_run / "eval_results.json").read_text())
    assert {"eval_reward", "eval_reward_mean@4", "eval_rewards/vowels", "eval_completion_length"} <= results.keys()
    assert len(history(plain_run, "eval_reward")) == 2


def test_every_completion_is_kept_with_its_columns(plain_run: Path) -> None:
    rows = pq.read_table(plain_run / "completions").to_pylist()
    assert len(rows) == 4 * 2 * 4  # steps, prompts, completions
    for row in rows:
        columns = json.loads(row["columns"])
        expected = sum(letter in "aeiou" for letter in row["completion"]) / max(len(row["completion"]), 1)
        if columns["id"] == "row-3":
            assert row["reward"] is None
            assert row["advantage"] == 0
        else:
            assert row["reward/vowels"] == pytest.approx(expected)
        assert 1 <= row["tokens"] <= 8


def test_a_reader_is_told_what_it_must_know(plain_run: Path, small_world: Path) -> None:
    """Folder of the media, rewards with weights, versions; and what was written in the evaluations of steps 2 and 4."""
    record = json.loads((plain_run / "completions" / "_run.json").read_text())
    assert (record["stage"], record["rewards"], record["gate"]) == ("grpo", {"vowels": 1.0}, None)
    assert Path(record["media_dir"]).is_absolute()
    assert {"llamafactory", "transformers", "torch"} <= record["versions"].keys()
    evaluations = sorted((plain_run / "completions").glob("_eval-*"))
    assert [file.name[:14] for file in evaluations] == ["_eval-00000002", "_eval-00000004"]
    for file in evaluations:
        rows = pq.read_table(file).to_pylist()
        assert {row["split"] for row in rows} == {"eval"}
        assert {row["sample"] for row in rows} == set(range(1 + 4))  # a greedy one, and sampled ones
    for row in pq.read_table(plain_run / "completions").to_pylist():
        for name in json.loads(row["media"])["images"]:
            assert (Path(record["media_dir"]) / name).is_file()


def test_sharing_the_prompt_changes_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"max_steps": 2, **PLAIN_STEPS}
    off = run(settings, share_prefix="off")
    for name, changes in {"cache": {}, "packed": {"disable_gradient_checkpointing": False}}.items():
        same(run(settings, share_prefix="on", output_dir=str(tmp_path / name), **changes), off, atol=2e-5)


def test_it_learns(settings: dict[str, Any]) -> None:
    """Twelve steps on text prompts raise the share of vowels well above where it began."""
    out = run(settings, max_steps=12, learning_rate=3.0e-3, num_generations=8, per_device_train_batch_size=4)
    rewards = history(out, "reward")
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all", "kl_beta": 0.05},
        {"kl_beta": 0.05, "loss_reduction": "constant", "advantage_scale": "none"},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "num_iterations": 2, "loss_reduction": "token"},
        {"rollout_top_p": 0.9, "rollout_top_k": 50, "clip_high": 0.28},
    ],
    ids=["lora", "full_kl", "freeze_iterations", "truncated"],
)
def test_every_option_trains_and_changes_the_run(settings: dict[str, Any], plain_run: Path, options: dict) -> None:
    out = run(settings, **options)
    losses = history(out)
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
    if "kl_beta" in options:
        kl = history(out, "kl")
        assert kl[0] == pytest.approx(0.0, abs=1e-5)
        assert kl[-1] > 1e-6
    if options.get("finetuning_type") != "lora":
        moved = loaded(out)
        assert any(not torch.equal(tensor, moved[name]) for name, tensor in loaded(plain_run).items())


def test_evaluation_alone(settings: dict[str, Any], plain_run: Path) -> None:
    """The trained model, evaluated by itself, gets the rewards that its training ended with."""
    out = run(
        settings,
        do_train=False,
        do_eval=True,
        max_steps=None,
        dataset=None,
        eval_dataset="held_out",
        model_name_or_path=str(plain_run),
    )
    results = json.loads((out / "eval_results.json").read_text())
    trained = json.loads((plain_run / "eval_results.json").read_text())
    for key in ("eval_reward", "eval_reward_mean@4"):
        assert results[key] == pytest.approx(trained[key], abs=1e-6)


def test_a_wrong_reward_stops_the_run_before_the_model_is_loaded(settings: dict[str, Any], prompts: Path) -> None:
    (prompts / "short.py").write_text("def short(completions, **columns):\n    return [1.0]\n")
    with pytest.raises(ValueError, match=r"accurracy.*Did you mean `accuracy`"):
        run(settings, reward_funcs=["accurracy"], model_name_or_path=settings["model_name_or_path"])
    with pytest.raises(ValueError, match="short"):
        run(settings, reward_funcs=[f"{prompts / 'short.py'}:short"])


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL once the checkpoint of step 3, in the middle of a block of two iterations, is whole; resumed, it ends the same."""
    settings = {**settings, "num_iterations": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    process = warm(settings, file)
    wait_for(out / "checkpoint-3" / "trainer_state.json", process)
    process.kill()
    assert not (out / "model.safetensors").exists()
    assert "Resuming training from" in warm(settings, file).finish()
    assert history(out) == pytest.approx(history(whole), abs=1e-6)
    for name, tensor in loaded(whole).items():
        torch.testing.assert_close(loaded(out)[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    mine, expected = (pq.read_table(folder / "completions").drop(["epoch"]).to_pylist() for folder in (out, whole))
    assert mine == expected  # each completion once, the same


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """DDP over two processes of one prompt each is one process of two prompts; ZeRO-2 on the CPU gives the same."""
    settings = {**settings, "max_steps": 3, "kl_beta": 0.05, **PLAIN_STEPS}
    one = run(settings, output_dir=str(tmp_path / "one"))
    changes = {"per_device_train_batch_size": 1, "ddp_find_unused_parameters": False, "loss_micro_batch": 3}
    settings = {**settings, **changes}  # parts of a group: wrappers see one pass all the same
    warm(settings, tmp_path / "ddp", ranks=2).finish()
    out = Path(settings["output_dir"])
    same(out, one, atol=3e-5)
    for key in ("reward", "entropy", "completion_length", "kl", "zero_variance_share"):
        assert history(out, key) == pytest.approx(history(one, key), abs=1e-5), key
    (tmp_path / "zero2.json").write_text(json.dumps(ZERO2))
    settings = {**settings, "output_dir": str(tmp_path / "zero2"), "deepspeed": str(tmp_path / "zero2.json")}
    warm(settings, tmp_path / "deepspeed", ranks=2).finish()
    same(tmp_path / "zero2", one, atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_fsdp2_equals_one_process(settings: dict[str, Any], tuning: str, tmp_path: Path) -> None:
    """Half of every weight on each of two processes; text, one picture, two, a video, and texts of different lengths.

    The reference is a model of its own (full) or the policy with its adapter off (lora).
    """
    settings |= {**PLAIN_STEPS, "kl_beta": 0.05, "eval_dataset": "held_out", "do_eval": True}
    settings |= {"eval_strategy": "steps", "eval_steps": 2}
    settings = lora(settings) if tuning == "lora" else settings
    one = run(settings, output_dir=str(tmp_path / "one"))
    fsdp2(settings | {"per_device_train_batch_size": 1}, tmp_path / "fsdp")
    out = Path(settings["output_dir"])
    if tuning == "full":
        same(out, one, atol=1e-5)
    else:
        first, second = (load_file(folder / "adapter_model.safetensors") for folder in (out, one))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            torch.testing.assert_close(tensor, second[name], atol=1e-5, rtol=1e-3, msg=name)
    for key in ("loss", "reward", "entropy", "completion_length", "kl", "zero_variance_share", "eval_reward"):
        assert history(out, key) == pytest.approx(history(one, key), abs=1e-5), key


@pytest.mark.slow
def test_lora_through_the_command_line(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = lora(settings, max_steps=2, reward_funcs=["accuracy"], dataloader_num_workers=1)
    command(settings, tmp_path / "cli")
    out = Path(settings["output_dir"])
    assert load_file(out / "adapter_model.safetensors")
    assert "completions of step" in (tmp_path / "cli.log").read_text()  # the table on screen
    assert history(out, "rewards/accuracy") == [0.0, 0.0]


def test_all_problems_are_named_at_once() -> None:
    """Out of range, missing rewards, keys of the host and of another stage; each with what to do."""
    given = {
        "stage": "grpo", "num_generations": 1, "rollout_temperature": 0, "rollout_top_p": 1.5, "num_iterations": 0,
        "reward_weights": [1.0], "kl_beta": -1, "temperature": 0.7, "streaming": True, "pref_beta": 0.1, "kepo_beta": 0.2,
        "metric_for_best_model": "loss", "deepspeed": {"zero_optimization": {"stage": 3}}, "num_generation": 4,
        "max_new_tokens": 0, "fsdp": "full_shard",
    }  # fmt: skip
    found = found_problems(given)
    assert found.keys() == {*given, "reward_funcs"} - {"stage", "reward_weights"}
    assert "2 or more" in found["num_generations"]
    assert "Use `rollout_temperature`" in found["temperature"]
    assert "`num_generations`" in found["num_generation"]
    assert "`stage: kepo`" in found["kepo_beta"]
    assert "eval_reward" in found["metric_for_best_model"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"reward_weights": [1.0]}, "reward_weights"),
        ({"reward_weights": [0, 0]}, "reward_weights"),
        ({"reward_weights": ["one", 1]}, "reward_weights"),
        ({"reward_funcs": [3]}, "reward_funcs"),
        ({"ref_model": "a"}, "ref_model"),
        ({"kl_beta": 0.1, "pissa_init": True}, "pissa_init"),
        ({"clip_low": 1.5}, "clip_low"),
    ],
)
def test_one_wrong_key_is_one_problem(changes: dict, key: str) -> None:
    good = {"stage": "grpo", "reward_funcs": ["accuracy", "format"], "reward_weights": [1, 0.5], "share_prefix": "on"}
    assert found_problems(good) == {}
    assert found_problems(good | {"reward_funcs": "accuracy", "reward_weights": 2}) == {}  # one word of a command line
    assert found_problems(good | changes).keys() == {key}
