"""`stage: gated_distill` through the host's own `run_exp` and `llamafactory-cli`: real images, a real teacher, a few steps.

Each run starts from the same untrained tiny Qwen2.5-VL; what is compared is what the host wrote to disk.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from llamafactory_hind.engines.interface import Prompt
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.trainers.rollouts.batch import prompt_of
from shared.openai_server import Behaviour, OpenAIServer
from shared.rollouts import RolloutSetup
from shared.stages import BASE, PLAIN_STEPS, command, found_problems, fsdp2, history, loaded, lora, run, same, warm
from shared.store import kept
from shared.teachers import kept_teacher


REWARD = '''
def vowels(completions, **columns):
    """Share of vowels: groups differ."""
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in completions]

def has_b(completions, **columns):
    """1 for a text with a b: some completions of an untrained model are right, and some prompts have none."""
    return [float("b" in text) for text in completions]

def never(completions, **columns):
    return [0.0 for text in completions]
'''


WORDS = ("moss", "berry", "stone", "root", "bark")  # two with a b: some groups are right, some wrong, most mixed


@pytest.fixture(scope="module")
def teacher(small_world: Path) -> Path:
    """An untrained model, wider than the student."""
    return kept_teacher(small_world)


@pytest.fixture(scope="module")
def student(small_world: Path) -> Path:
    """The tiny model, taught to say one short word: its completions end."""
    return kept("student", lambda folder: teach(small_world, folder))


def teach(small_world: Path, folder: Path) -> None:
    setup = RolloutSetup(small_world)
    loaded = setup.loaded
    features = setup.features(["image", "text"])
    examples = [
        Prompt(feature["prompt_input_ids"], [*loaded.tokenizer.encode(word), loaded.tokenizer.eos_token_id],
               prompt_of(feature).request)
        for feature in features for word in WORDS
    ]  # fmt: skip
    inputs, labels = collate(loaded, examples, padding_side="right")
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loaded.model(**inputs, labels=labels).loss.backward()
        optimizer.step()
    for file in (small_world / "tiny").iterdir():
        shutil.copy(file, folder)
    loaded.model.save_pretrained(folder)


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve prompts, of text and of one image in turn: `plain`, and `hinted` with a hint in each row."""
    folder = tmp_path_factory.mktemp("gated")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    prompts = [
        {
            "id": f"row-{i}",
            "prompt": f"{'<image>' * (i % 2)}What is told of thing {i}?",
            "images": [f"images/{images[i]}"] * (i % 2),
            "answer": "moss",
            "hint": None,
        }
        for i in range(12)
    ]
    hinted = [{**row, "hint": f"Look at the color of thing {i}."} for i, row in enumerate(prompts)]
    for name, content in {"plain": prompts, "hinted": hinted}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    info = {name: {"file_name": f"{name}.json", "formatting": "rollout"} for name in ("plain", "hinted")}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "reward.py").write_text(REWARD)
    return folder


@pytest.fixture
def settings(small_world: Path, student: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of three steps of four prompts: gated by `has_b`, no exploration, no teacher."""
    return {
        **BASE,
        "stage": "gated_distill",
        "model_name_or_path": str(student),
        "dataset_dir": str(rows),
        "media_dir": str(small_world),
        "output_dir": str(tmp_path / "out"),
        "dataset": "plain",
        "reward_funcs": [f"{rows / 'reward.py'}:has_b", f"{rows / 'reward.py'}:vowels"],
        "gate_reward": "has_b",
        "hint_samples": 0,
        "max_new_tokens": 12,
        "per_device_train_batch_size": 4,
        "max_steps": 3,
    }


GATED_KEYS = ("gate_", "distill_", "hint", "rl_weight", "teacher", "step_weighting", "external_")


def grpo_of(settings: dict[str, Any], out: Path) -> Path:
    """The same run as `stage: grpo`."""
    plain = {key: value for key, value in settings.items() if not key.startswith(GATED_KEYS)}
    return run({**plain, "stage": "grpo", "output_dir": str(out)})


def completions(out: Path) -> list[dict[str, Any]]:
    entries = pq.read_table(out / "completions").to_pylist()
    return [{**entry, "hint": json.loads(entry["extra"]).get("hint")} for entry in entries]


def test_without_teacher_and_hints_it_is_grpo_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    mine, grpo = run(settings), grpo_of(settings, tmp_path / "grpo")
    for name, tensor in loaded(grpo).items():
        assert torch.equal(tensor, loaded(mine)[name]), name
    for key in ("loss", "grad_norm", "reward", "advantage_abs", "entropy", "ratio", "completion_length"):
        assert history(mine, key) == history(grpo, key)
    for one, other in zip(completions(mine), completions(grpo), strict=True):
        assert {name: one[name] for name in other} == other


def test_a_gate_that_closes_on_everything_is_grpo(settings: dict[str, Any], teacher: Path, tmp_path: Path) -> None:
    """Nothing passes: the distillation loss is 0, not 0/0, and its gradient is 0."""
    mine = run(settings, teacher=str(teacher), gate_threshold=2.0)
    grpo = grpo_of(settings, tmp_path / "grpo")
    for name, tensor in loaded(grpo).items():
        torch.testing.assert_close(loaded(mine)[name], tensor, atol=1e-6, rtol=1e-6, msg=name)
    assert history(mine, "loss/distill") == [0.0] * 3
    assert history(mine, "gate/pass_rate") == [0.0] * 3
    assert all(value > 0 for value in history(mine, "divergence/refused"))  # watched for the log


def test_a_student_that_is_its_teacher_learns_nothing(settings: dict[str, Any], student: Path) -> None:
    out = run(settings, teacher=str(student), rl_weight=0.0, gate_threshold=-math.inf, max_steps=1, **PLAIN_STEPS)  # fmt: skip
    untrained = loaded(student)
    for name, tensor in loaded(out).items():
        torch.testing.assert_close(tensor, untrained[name], atol=1e-5, rtol=1e-4, msg=name)
    assert history(out, "loss/distill") == pytest.approx([0.0], abs=1e-6)


def test_it_learns_from_what_passes_the_gate_alone(settings: dict[str, Any], teacher: Path) -> None:
    """Distillation alone: the divergence falls; the share that passes is that of the log of completions."""
    out = run(settings, teacher=str(teacher), rl_weight=0.0, max_steps=12, learning_rate=2e-3)
    passed = history(out, "divergence/passed")
    assert passed[-1] < 0.5 * passed[0]
    rates = history(out, "gate/pass_rate")
    entries = completions(out)
    for step, rate in enumerate(rates, start=1):
        right = [entry["reward/has_b"] for entry in entries if entry["step"] == step]
        assert rate == pytest.approx(sum(right) / len(right))
    assert 0 < rates[0] < 1
    assert "loss/policy" not in json.dumps(json.loads((out / "trainer_state.json").read_text()))


@pytest.mark.slow
def test_neither_split_nor_sharing_nor_processes_change_it(
    settings: dict[str, Any], teacher: Path, tmp_path: Path
) -> None:
    settings |= {"teacher": str(teacher), **PLAIN_STEPS}
    whole = run(settings)
    split = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    same(run(settings, output_dir=str(tmp_path / "split"), **split), whole, atol=3e-5)
    for name, changes in {"off": {"share_prefix": "off"}, "packed": {"disable_gradient_checkpointing": False}}.items():
        same(run(settings, output_dir=str(tmp_path / name), **changes), whole, atol=3e-5)
    settings |= {"per_device_train_batch_size": 2, "ddp_find_unused_parameters": False}
    ddp = settings | {"output_dir": str(tmp_path / "two")}
    warm(ddp, tmp_path / "ddp", ranks=2).finish()
    same(tmp_path / "two", whole, atol=3e-5)
    for key in ("gate/pass_rate", "divergence/passed", "divergence/refused", "loss/distill"):
        assert history(tmp_path / "two", key) == pytest.approx(history(whole, key), abs=1e-5), key


@pytest.mark.slow
def test_fsdp2_equals_one_process(settings: dict[str, Any], teacher: Path, tmp_path: Path) -> None:
    """Half of every weight on each of two processes, a teacher whole on both; hints that one of them may not need."""
    settings |= {"teacher": str(teacher), "hint_samples": 2, "hint_max_new_tokens": 8, **PLAIN_STEPS}
    one = run(settings, output_dir=str(tmp_path / "one"))
    fsdp2(settings | {"per_device_train_batch_size": 2}, tmp_path / "fsdp")
    out = Path(settings["output_dir"])
    same(out, one, atol=1e-5)
    for key in ("gate/pass_rate", "divergence/passed", "divergence/refused", "loss/distill", "hints/triggered"):
        assert history(out, key) == pytest.approx(history(one, key), abs=1e-5), key


def test_hints_of_the_rows_bring_completions_under_the_original_prompt(settings: dict[str, Any]) -> None:
    """No teacher: hints come from the rows. What is injected is right, takes the worst places, and says where it is from."""
    settings |= {"dataset": "hinted", "hint_samples": 2, "hint_trigger": "always", "hint_variant": "hint"}
    out = run(settings)
    entries = completions(out)
    hinted = [entry for entry in entries if entry["source"] == "hinted"]
    assert hinted
    assert all(entry["reward/has_b"] == 1 for entry in hinted)
    assert all(entry["hint"] == f"Look at the color of thing {entry['row_id'][4:]}." for entry in hinted)
    assert all(entry["hint"] is None for entry in entries if entry["source"] == "policy")
    for step in (1, 2, 3):
        for row in {entry["row_id"] for entry in entries if entry["step"] == step}:
            group = [entry for entry in entries if (entry["step"], entry["row_id"]) == (step, row)]
            kept = [entry for entry in group if entry["kept"]]
            assert len(kept) == 4
            assert sum(entry["source"] == "hinted" for entry in kept) <= 2
            least = min(entry["reward"] for entry in kept if entry["source"] == "policy")
            assert all(entry["reward"] <= least for entry in group if not entry["kept"])
            rewards = torch.tensor([entry["reward"] for entry in kept], dtype=torch.float64)
            expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            assert [entry["advantage"] for entry in kept] == pytest.approx(expected.tolist(), abs=1e-5)
    assert history(out, "source/hinted/ratio") == pytest.approx([1.0] * len(history(out, "source/hinted/ratio")))
    assert history(out, "hints/triggered") == [1.0] * 3
    assert sum(history(out, "hints/kept_share")) == pytest.approx(len([e for e in hinted if e["kept"]]) / 16)


def test_resumed_with_hints_teacher_and_caches_equals_never_stopped(
    settings: dict[str, Any], teacher: Path, tmp_path: Path
) -> None:
    settings |= {"teacher": str(teacher), "hint_samples": 2, "hint_trigger": "always", "hint_tags": False}
    settings |= {
        "num_iterations": 2,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 3,
        "hint_max_new_tokens": 8,
    }
    never = run(settings, output_dir=str(tmp_path / "never"))
    assert history(never, "hints/triggered")
    resumed = {"resume_from_checkpoint": str(tmp_path / "never" / "checkpoint-3")}
    out = run(settings, output_dir=str(tmp_path / "resumed"), **resumed)
    for name, tensor in loaded(never).items():
        torch.testing.assert_close(loaded(out)[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_a_teacher_that_disappears_costs_hints_and_nothing_else(settings: dict[str, Any], tmp_path: Path) -> None:
    """A server that fails from its first call on: the run ends as GRPO would, and says so."""
    with OpenAIServer(Behaviour(faults=1.0, kinds=["error"])) as server:
        file = tmp_path / "teacher.yaml"
        api = {"base_url": server.url, "model": "m", "max_retries": 0, "timeout": 2}
        file.write_text(json.dumps({"api": api}))
        out = run(settings, teacher=str(file), distill_weight=0.0, hint_samples=2, hint_trigger="always")
    grpo = grpo_of(settings, tmp_path / "grpo")
    for name, tensor in loaded(grpo).items():
        assert torch.equal(tensor, loaded(out)[name]), name
    assert sum(history(out, "hints/hint_failed")) > 0


@pytest.mark.slow
def test_lora_with_its_own_base_through_the_command_line(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = lora(settings, max_steps=2, teacher="base", gate_threshold=-1.0, step_weighting=True)
    command(settings, tmp_path / "cli")
    out = Path(settings["output_dir"])
    assert len(history(out, "loss/distill")) == 2
    assert history(out, "divergence/passed")[0] == pytest.approx(0.0, abs=1e-6)  # an untrained adapter is its base


def test_an_api_cannot_give_distributions(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "teacher.yaml"
    file.write_text(json.dumps({"api": {"base_url": "http://localhost:1/v1", "model": "m"}}))
    with pytest.raises(ValueError, match="distill_weight: 0"):
        run(settings, teacher=str(file), model_name_or_path="/nowhere")


def test_wrong_keys_are_named() -> None:
    good = {
        "stage": "gated_distill",
        "reward_funcs": ["accuracy", "format"],
        "teacher": "t",
        "gate_threshold": -math.inf,
    }
    assert found_problems(good) == {}
    assert found_problems(good | {"reward_funcs": "accuracy", "gate_reward": "total"}) == {}
    wrong = {
        "gate_reward": "acuracy", "distill_beta": 1.5, "distill_temperature": 0, "distill_weight": -1, "hint_samples": 8,
        "hint_trigger": "never", "gate_threshold": math.inf, "teachr": "t", "hint_max_attempts": 0, "step_weighting": "yes",
    }  # fmt: skip
    found = found_problems(good | wrong)
    assert found.keys() == wrong.keys()
    assert "accuracy, format" in found["gate_reward"]
    assert "`teacher`" in found["teachr"]
    assert "num_generations" in found["hint_samples"]
    assert "rl_weight" in found_problems({"stage": "gated_distill", "reward_funcs": ["accuracy"], "rl_weight": 0})
    assert "teacher" in found_problems({"stage": "grpo", "reward_funcs": ["accuracy"], "teacher": "t"})
