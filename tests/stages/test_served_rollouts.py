"""Stages whose rollouts the stand-in server writes, through the host's own `run_exp`: killed, resumed, external and hinted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from shared.stages import BASE, PLAIN_STEPS, history, lora, places, run, wait_for, warm, write_prompts
from shared.vllm_server import VllmServer


@pytest.fixture(scope="module")
def server(small_world: Path) -> Iterator[VllmServer]:
    with VllmServer(small_world / "tiny") as server:
        yield server


@pytest.fixture(scope="module")
def prompts(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and text, with a hint and an external action in each row; no video."""
    folder = write_prompts(small_world, tmp_path_factory.mktemp("prompts"))
    rows = [row for row in json.loads((folder / "prompts.json").read_text()) if not row["videos"]]
    (folder / "prompts.json").write_text(json.dumps(rows))
    for row in rows:
        row["hint"] = "It is green."
        row["external"] = [{"text": "<think>It is soft.</think><answer>moss</answer>", "source": "other"}]
    (folder / "few.json").write_text(json.dumps(rows[:3]))
    (folder / "more.json").write_text(json.dumps(rows))
    info = json.loads((folder / "dataset_info.json").read_text())
    for name in ("more", "few"):
        info[name] = {"file_name": f"{name}.json", "formatting": "rollout"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def served_settings(world: Path, prompts: Path, server: VllmServer, out: Path) -> dict[str, Any]:
    """An adapter, trained for four steps of two prompts."""
    served = {"rollout_engine": "vllm", "rollout_server": server.url, "rollout_timeout": 120}
    return lora({**BASE, **places(world, prompts, out), **served})


@pytest.fixture
def settings(small_world: Path, prompts: Path, server: VllmServer, tmp_path: Path) -> dict[str, Any]:
    server.forget()
    return served_settings(small_world, prompts, server, tmp_path / "out")


def completions(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "completions").to_pylist()


def texts(out: Path) -> list[tuple[Any, ...]]:
    names = ("step", "row_id", "sample", "completion", "tokens", "finish_reason", "reward")
    return sorted(tuple(entry[name] for name in names) for entry in completions(out))


STEPS = {**PLAIN_STEPS, "max_steps": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}


@pytest.fixture(scope="module")
def plain_run(small_world: Path, prompts: Path, server: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that others must equal."""
    server.forget()
    out = tmp_path_factory.mktemp("plain") / "out"
    return run(served_settings(small_world, prompts, server, out), **STEPS)


def equal(out: Path, expected: Path) -> None:
    """Two runs wrote, lost and learnt the same."""
    assert history(out) == pytest.approx(history(expected), abs=1e-5)
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (out, expected))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-3, msg=name)
    assert texts(out) == texts(expected)
    assert max(history(out, "rollout/logp_diff_max")) < 1e-3


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(settings: dict[str, Any], plain_run: Path, tmp_path: Path) -> None:
    """SIGKILL once the checkpoint of step 1 is whole: the same completions, losses and weights as without."""
    settings = {**settings, **STEPS}
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    process = warm(settings, file)
    wait_for(out / "checkpoint-1" / "trainer_state.json", process)
    process.kill()
    assert not (out / "adapter_model.safetensors").exists()
    run(settings)
    equal(out, plain_run)


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], plain_run: Path, tmp_path: Path) -> None:
    """The first process hands the weights over, both write with them."""
    settings = {**settings, **STEPS, "per_device_train_batch_size": 1, "ddp_find_unused_parameters": False}
    warm(settings, tmp_path / "ddp", ranks=2).finish()
    equal(Path(settings["output_dir"]), plain_run)


def test_external_actions_stand_beside_what_a_server_wrote(settings: dict[str, Any]) -> None:
    out = run(settings, stage="external_grpo", dataset="more", max_steps=2, max_new_tokens=40, kl_beta=0.05)
    assert {entry["source"] for entry in completions(out)} == {"policy", "other"}
    assert history(out, "rollout/ratio_mean") == pytest.approx([1, 1], abs=1e-4)


def test_hinted_completions_come_from_the_same_server(settings: dict[str, Any], server: VllmServer) -> None:
    """Nothing is right, so every prompt is explored: two attempts of K hinted completions beside the group of each."""
    server.bodies.clear()
    out = run(
        settings,
        stage="gated_distill",
        dataset="more",
        max_steps=1,
        gate_reward="vowels",
        gate_threshold=2.0,
        hint_samples=2,
        hint_max_attempts=2,
    )
    counts = sorted(body["sampling_params"]["n"] for body in server.bodies)
    assert counts == [1, 1, 2, 2, 2, 2, 4, 4]  # the probe, hinted ones, the groups
    assert history(out, "hints/written") == [4]


def test_evaluation_asks_for_a_greedy_completion_beside_the_samples(
    settings: dict[str, Any], server: VllmServer
) -> None:
    server.bodies.clear()
    out = run(settings, max_steps=1, do_eval=True, eval_dataset="few", per_device_eval_batch_size=3)
    found = json.loads((out / "all_results.json").read_text())
    assert "eval_reward_mean@4" in found
    greedy = [body for body in server.bodies if body["sampling_params"]["temperature"] == 0]
    assert len(greedy) == 3


def test_rows_with_videos_are_refused_before_the_model_is_loaded(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"field `videos`: got 1, expected none with `rollout_engine: vllm`"):
        run(settings, eval_dataset="held_out", do_eval=True)
