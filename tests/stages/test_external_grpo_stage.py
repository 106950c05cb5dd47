"""`stage: external_grpo` through the host's own `run_exp`: groups with texts of other models, beside plain GRPO.

Each run starts from the same untrained tiny Qwen2.5-VL; what is compared is what the host wrote to disk.
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from llamafactory.data import MultiModalDataCollatorForSeq2Seq, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer

from llamafactory_hind.methods.external.ratio import ExternalRatio
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from shared.openai_server import Behaviour, OpenAIServer
from shared.stages import BASE, PLAIN_STEPS, command, found_problems, fsdp2, history, loaded, places, run, same


GOOD = "<think>I see a dax.</think><answer>{}</answer>"
REWARD = '''
def right(completions, answer, **columns):
    """1 for the gold answer between tags; a little for vowels, so that groups differ."""
    return [float(f"<answer>{gold}</answer>" in text) + 0.1 * sum(c in "aeiou" for c in text) / max(len(text), 1)
            for text, gold in zip(completions, answer)]
'''


def actions(number: int) -> list[dict[str, Any]]:
    """None, one right, a wrong one and a right one without layout, or a right one and one that was cut, in turn."""
    right, wrong = ({"source": "large", "text": GOOD.format(word), "logprob": -9.5} for word in ("moss", "stone"))
    bare = {"source": "small", "text": "A dax eats it.\nThe answer is moss.", "logprob": None}
    cut = {"source": "small", "text": "<think>I see a", "logprob": None}
    return [[], [right], [wrong, bare], [right, cut]][number % 4]


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve prompts, of text and of one image in turn: `with` and `without` external actions, `recorded` with log q alone."""
    folder = tmp_path_factory.mktemp("external")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    prompts = [
        {
            "id": f"row-{i}",
            "prompt": f"{'<image>' * (i % 2)}What is told of thing {i}?",
            "images": [f"images/{images[i]}"] * (i % 2),
            "answer": "moss",
        }
        for i in range(12)
    ]
    recorded = [{"source": "large", "text": GOOD.format("moss"), "logprob": -20.0}]
    data = {
        "with": [{**row, "external": actions(i) or None} for i, row in enumerate(prompts)],
        "without": [{**row, "external": None, "note": "no column of the host"} for row in prompts],
        "recorded": [{**row, "external": recorded} for row in prompts],
        "named": [{**row, "external": [{**recorded[0], "source": "policy"}]} for row in prompts[:2]],
    }
    for name, content in data.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "dataset_info.json").write_text(
        json.dumps({name: {"file_name": f"{name}.json", "formatting": "rollout"} for name in data})
    )
    (folder / "reward.py").write_text(REWARD)
    return folder


@pytest.fixture
def settings(small_world: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of three steps of four prompts."""
    return {
        **BASE,
        **places(small_world, rows, tmp_path / "out"),
        "stage": "external_grpo",
        "dataset": "with",
        "reward_funcs": [f"{rows / 'reward.py'}:right"],
        "max_new_tokens": 40,
        "per_device_train_batch_size": 4,
        "max_steps": 3,
    }


def completions(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "completions").to_pylist()


def groups(out: Path) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """The completions that were learnt from, by step and row."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for entry in completions(out):
        if entry["kept"]:
            found.setdefault((entry["step"], entry["row_id"]), []).append(entry)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "without"},
        {"dataset": "without", "external_ratio": "shaped", "external_selection": "append", "kl_beta": 0.05, "num_iterations": 2},
        {"external_max_per_group": 0, "external_tie_break": "random"},
    ],
    ids=["no_actions", "no_actions_iterations_kl", "none_allowed"],
)  # fmt: skip
def test_without_external_actions_it_is_grpo_bit_for_bit(
    settings: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = {**settings, **changes}
    mine = run(settings)
    plain = {key: value for key, value in settings.items() if not key.startswith("external_")}
    grpo = run({**plain, "stage": "grpo", "output_dir": str(tmp_path / "grpo")})
    for name, tensor in loaded(grpo).items():
        assert torch.equal(tensor, loaded(mine)[name]), name
    for key in ("loss", "grad_norm", "reward", "advantage_abs", "entropy", "ratio", "completion_length"):
        assert history(mine, key) == history(grpo, key)
    # passed-over actions are in the log of one alone
    assert [entry for entry in completions(mine) if entry["kept"]] == completions(grpo)


def test_groups_are_the_best_g_and_compared_among_themselves(settings: dict[str, Any]) -> None:
    """Every group has G = 4; an action with the right answer is in it; advantages follow from the kept rewards alone."""
    out = run(settings)
    found = groups(out)
    assert len(found) == 3 * 4
    taken = 0
    for (_, row_id), group in found.items():
        number = int(row_id.removeprefix("row-"))
        assert len(group) == 4
        rewards = torch.tensor([entry["reward"] for entry in group], dtype=torch.float64)
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert [entry["advantage"] for entry in group] == pytest.approx(expected.tolist(), abs=1e-5)
        sources = [entry["source"] for entry in group if entry["source"] != "policy"]
        assert ("large" in sources) == (number % 4 in (1, 3)) or number % 4 == 2
        assert ("small" in sources) == (number % 4 == 2)  # wrapped; the cut one is refused
        taken += len(sources)
    assert history(out, "external/kept_share")
    share = sum(history(out, "external/kept_share")) / 3
    assert share == pytest.approx(taken / (3 * 4 * 4))
    passed = [entry for entry in completions(out) if not entry["kept"]]
    assert len(passed) == 12  # as many as there are good actions: a group has G places
    assert all(entry["advantage"] is None and entry["reward"] is not None for entry in passed)


def test_every_source_has_its_numbers(settings: dict[str, Any]) -> None:
    """Offered, kept, reward, advantage, ratio, clipped share and probability; one epoch meets every row once."""
    out = run(settings, logging_steps=3)
    number = {key: history(out, f"source/{key}")[0] for key in (
        "large/offered", "small/offered", "policy/offered", "large/kept", "small/kept", "policy/kept", "large/reward", "small/reward",
        "large/advantage", "policy/advantage", "large/ratio", "large/clip", "large/probability", "policy/probability",
    )}  # fmt: skip
    assert number["policy/offered"] == 4
    assert number["large/offered"] == pytest.approx(9 / 12)  # 0, 1, 1, 1 of four rows, in turn
    assert number["small/offered"] == pytest.approx(3 / 12)
    assert history(out, "external/refused_truncated") == [pytest.approx(3 / 12)]
    assert history(out, "external/refused_too_long") == [0]
    assert number["small/reward"] > 1
    assert 0.6 < number["large/reward"] < 0.8  # two of three are right
    assert number["large/advantage"] > 0 > number["policy/advantage"]
    assert number["large/ratio"] == pytest.approx(1.0)
    assert number["large/clip"] == 0
    assert 0 < number["large/probability"] < 1
    assert 0 < number["policy/probability"] < 1


def test_old_log_probs_are_those_of_the_policys_own_template(
    settings: dict[str, Any], small_world: Path, rows: Path
) -> None:
    """The logged mean probability of the actions' tokens is that of the untrained model, asked without any of our code."""
    out = run(settings, max_steps=1, dataset="recorded", per_device_train_batch_size=12, external_selection="append",
              share_prefix="on")  # fmt: skip
    model_args = ModelArguments(model_name_or_path=str(small_world / "tiny"))
    modules = load_tokenizer(model_args)
    tokenizer = modules["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen2_vl"))
    model = load_model(tokenizer, model_args, FinetuningArguments(), is_trainable=False).eval().float()
    collator = MultiModalDataCollatorForSeq2Seq(
        template=template, model=model, tokenizer=tokenizer, processor=modules["processor"]
    )
    probabilities = []
    for row in json.loads((rows / "recorded.json").read_text()):
        images = [str(small_world / image) for image in row["images"]]
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": GOOD.format("moss")}]
        turns = template.mm_plugin.process_messages(turns, images, [], [], modules["processor"])
        prompt, answer = template.encode_oneturn(tokenizer, turns)
        answer = answer[: answer.index(tokenizer.convert_tokens_to_ids("<|im_end|>")) + 1]
        feature = {"input_ids": [*prompt, *answer], "attention_mask": [1] * len(prompt + answer)}
        feature |= {"labels": feature["input_ids"], "images": images, "videos": [], "audios": []}
        inputs = collator([feature])
        with torch.no_grad():
            logits = model(**{name: value for name, value in inputs.items() if name != "labels"}).logits[0] / 0.9
        logps = logits.log_softmax(-1)[len(prompt) - 1 : len(prompt + answer) - 1].gather(
            1, torch.tensor(answer)[:, None]
        )
        probabilities += logps.exp().flatten().tolist()
    assert history(out, "source/large/probability") == [
        pytest.approx(sum(probabilities) / len(probabilities), rel=1e-4)
    ]


@pytest.mark.parametrize("selection", ["append", "replace_worst"])
def test_other_selections(settings: dict[str, Any], selection: str) -> None:
    """`append` grows a group by its good actions; `replace_worst` takes them in whatever they are worth."""
    out = run(settings, external_selection=selection, external_ratio="shaped")
    good = [0, 1, 2, 1]
    for (_, row_id), group in groups(out).items():
        expected = good[int(row_id.removeprefix("row-")) % 4]
        assert sum(entry["source"] != "policy" for entry in group) == expected
        assert len(group) == 4 + (expected if selection == "append" else 0)
        worst = min(entry["reward"] for entry in group if entry["source"] == "policy")
        dropped = [e["reward"] for e in completions(out) if not e["kept"] and e["row_id"] == row_id]
        assert len(dropped) == (expected if selection == "replace_worst" else 0)
        assert all(reward <= worst for reward in dropped)
    assert all(math.isfinite(loss) for loss in history(out))


def test_neither_split_nor_sharing_nor_resuming_changes_groups_of_different_sizes(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"external_selection": "append", "external_ratio": "shaped", "loss_reduction": "token", **PLAIN_STEPS}
    whole = run(settings)
    split = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    same(run(settings, output_dir=str(tmp_path / "split"), **split), whole, atol=3e-5)
    for name, changes in {"off": {"share_prefix": "off"}, "packed": {"disable_gradient_checkpointing": False}}.items():
        same(run(settings, output_dir=str(tmp_path / name), **changes), whole, atol=3e-5)
    again = {
        "external_tie_break": "random",
        "num_iterations": 2,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    never = run(settings, output_dir=str(tmp_path / "never"), **again)
    resumed = {"resume_from_checkpoint": str(tmp_path / "never" / "checkpoint-3")}
    out = run(settings, output_dir=str(tmp_path / "resumed"), **again, **resumed)
    for name, tensor in loaded(never).items():
        torch.testing.assert_close(loaded(out)[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_q_is_needed_before_anything_is_loaded(settings: dict[str, Any], rows: Path) -> None:
    with pytest.raises(ValueError, match="external_ratio: behavior") as error:
        run(settings, external_ratio="behavior", rollout_temperature=1.0)
    assert f"{rows / 'with.json'}, row 3, field `external[1].logprob`: got nothing" in str(error.value)
    assert "row 2," not in str(error.value)
    with pytest.raises(ValueError, match=r"row 2, field `external.0..logprob_temperature`: got 1, expected 0\.9"):
        run(settings, external_ratio="behavior")
    with pytest.raises(ValueError, match=r"row 1, field `external.0..source`: got 'policy'"):
        run(settings, dataset="named")


def test_q_is_at_the_temperature_of_the_policy(settings: dict[str, Any], rows: Path) -> None:
    """A recorded `logprob` is at temperature 1 unless the row says otherwise: at 0.9 pi / q would not be a ratio."""
    with pytest.raises(ValueError, match="two distributions at one temperature") as error:
        run(settings, external_ratio="behavior", dataset="recorded", rollout_temperature=0.9)
    assert "`external[0].logprob_temperature`: got 1, expected 0.9" in str(error.value)


def test_behavior_trains(settings: dict[str, Any]) -> None:
    """exp((sum log pi - log q) / n): with log q = -20 for some twenty tokens, far from 1 for an untrained model."""
    out = run(settings, external_ratio="behavior", dataset="recorded", rollout_temperature=1.0)
    assert all(0 < ratio < 0.5 for ratio in history(out, "source/large/ratio"))
    assert history(out, "source/policy/ratio") == pytest.approx([1.0] * 3)


def ratio_of(name: str) -> ExternalRatio:
    keys = {
        "external_ratio": name,
        "external_gamma": 0.1,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "loss_reduction": "token",
        "policy_loss": "clipped",
        "ratio_level": "token",
        "mask_truncated": False,
        "group_reward_range": None,
    }
    return ExternalRatio(SimpleNamespace(**keys))


@pytest.mark.parametrize("ratio", ["plain", "shaped", "behavior"])
def test_each_ratio_by_hand(ratio: str) -> None:
    """Two completions of two tokens, A = -1 the policy's, A = 2 external, pi = 0.5 and 0.1; pi_old = 0.25 everywhere; q = 0.09.

    Policy, clipped at 1.2: ratios 2, 0.4; -min(2 * -1, 1.2 * -1) = 2 (unclipped is worse), -min(-0.4, -0.8) = 0.8 (clipped).
    External: plain -min(2 * 2, 1.2 * 2) = -2.4, -0.4 * 2 = -0.8; shaped -2 * 0.5 / 0.6 and -2 * 0.1 / 0.2, whose gradient by log pi
    is -2 * 0.1 pi / (pi + 0.1)^2; behavior s = sqrt(0.05 / 0.09) = 0.745..., twice -0.745 * 2, gradient the same.
    """
    logps = torch.tensor([[0.5, 0.1]] * 2, dtype=torch.float64).log().requires_grad_()
    batch = RolloutBatch(
        [], torch.zeros(2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool),
        torch.tensor([-1.0, 2.0]), {"behavior_logp": torch.tensor([0.0, math.log(0.09)], dtype=torch.float64)},
        ["policy", "large"],
    )  # fmt: skip
    old = torch.full_like(logps, math.log(0.25)).detach()
    s = math.sqrt(0.05 / 0.09)
    losses = {"plain": [-2.4, -0.8], "shaped": [-2 * 0.5 / 0.6, -1.0], "behavior": [-2 * s] * 2}[ratio]
    gradient = {
        "plain": [0.0, -0.8],
        "shaped": [-2 * 0.1 * 0.5 / 0.36, -2 * 0.1 * 0.1 / 0.04],
        "behavior": [-2 * s] * 2,
    }[ratio]
    stage = ratio_of(ratio)
    found = stage.surrogate(logps, old, None, batch)
    assert found[0].tolist() == pytest.approx([2.0, 0.8])
    assert found[1].tolist() == pytest.approx(losses, rel=1e-6)
    found.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([2.0, 0.0])
    assert logps.grad[1].tolist() == pytest.approx(gradient, rel=1e-6)
    metrics = stage.ratio_metrics(logps.detach(), old, None, batch)
    factor = {"plain": [2.0, 0.4], "shaped": [0.5 / 0.6, 0.5], "behavior": [s, s]}[ratio]
    assert metrics["source/large/ratio"][1].tolist() == pytest.approx(factor, rel=1e-6)
    assert metrics["source/large/ratio"][0].isnan().all()
    assert metrics["source/large/clip"][1].tolist() == ([1.0, 0.0] if ratio == "plain" else [0.0, 0.0])
    assert metrics["source/policy/clip"][0].tolist() == [0.0, 1.0]
    assert metrics["source/large/probability"][1].tolist() == pytest.approx([0.5, 0.1])


def test_wrong_keys_are_named() -> None:
    good = {
        "stage": "external_grpo",
        "reward_funcs": ["accuracy"],
        "external_ratio": "shaped",
        "external_max_per_group": 1,
    }
    assert found_problems(good) == {}
    wrong = {
        "external_gamma": 0.0,
        "external_max_per_group": -1,
        "external_ratio": "luffy",
        "external_select": "append",
    }
    found = found_problems(good | wrong)
    assert found.keys() == wrong.keys()
    assert "external_selection" in found["external_select"]
    assert "shaped" in found["external_ratio"]
    assert (
        "external_grpo"
        in found_problems({"stage": "grpo", "reward_funcs": ["accuracy"], "external_gamma": 0.2})["external_gamma"]
    )


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """Sources that only one of the processes meets, and groups of different sizes, change nothing."""
    settings |= {"external_selection": "append", "external_ratio": "shaped", "max_steps": 3, **PLAIN_STEPS}
    one = run(settings, output_dir=str(tmp_path / "one"))
    settings |= {"per_device_train_batch_size": 2, "ddp_find_unused_parameters": False}
    both = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}
    command(settings, tmp_path / "ddp", **both)
    out = Path(settings["output_dir"])
    same(out, one, atol=3e-5)
    for key in (
        "reward",
        "external/kept_share",
        "source/large/offered",
        "source/small/kept",
        "source/small/probability",
    ):
        assert history(out, key) == pytest.approx(history(one, key), abs=1e-5), key


def test_live_actions_are_asked_for_once_and_kept(settings: dict[str, Any], rows: Path, tmp_path: Path) -> None:
    """A server answers each row once for two epochs; a resumed run asks nothing; where it is gone the run is plain GRPO."""
    settings |= {
        "dataset": "without",
        "max_steps": 4,
        "per_device_train_batch_size": 6,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    answer = Behaviour(answer=lambda body, number: GOOD.format("moss"))
    file = tmp_path / "other.yaml"
    with OpenAIServer(answer) as server:
        file.write_text(json.dumps({"api": {"base_url": server.url, "model": "large", "max_retries": 0}}))
        out = run(settings, external_teacher=str(file))
        assert server.stats()["calls"] == 12
        resumed = {"resume_from_checkpoint": str(out / "checkpoint-2")}
        again = run(settings, external_teacher=str(file), **resumed)
        assert server.stats()["calls"] == 12
    for name, tensor in loaded(out).items():
        torch.testing.assert_close(loaded(again)[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    entries = [entry for entry in completions(out) if entry["source"] == "large"]
    assert {entry["completion"] for entry in entries} == {GOOD.format("moss")}
    assert history(out, "source/large/offered") == [1.0] * 4
    assert history(out, "external/unanswered") == [0.0] * 4
    gone = run(settings, external_teacher=str(file), max_steps=2, output_dir=str(tmp_path / "gone"))
    assert history(gone, "external/unanswered") == [1.0] * 2
    assert history(gone, "external/kept_share") == [0.0] * 2
    found = found_problems({"stage": "external_grpo", "reward_funcs": ["accuracy"], "external_teacher": "t",
                            "external_ratio": "behavior", "external_samples": 0})  # fmt: skip
    assert found.keys() == {"external_ratio", "external_samples"}


@pytest.mark.slow
def test_fsdp2_equals_one_process(settings: dict[str, Any], tmp_path: Path) -> None:
    """Half of every weight on each of two processes, and groups of different sizes."""
    settings |= {"external_selection": "append", "external_ratio": "shaped", "max_steps": 3, **PLAIN_STEPS}
    one = run(settings, output_dir=str(tmp_path / "one"))
    fsdp2(settings | {"per_device_train_batch_size": 2}, tmp_path / "fsdp")
    out = Path(settings["output_dir"])
    same(out, one, atol=1e-5)
    for key in ("reward", "external/kept_share", "source/large/offered", "source/small/probability"):
        assert history(out, key) == pytest.approx(history(one, key), abs=1e-5), key
