"""The rollout trainer over a tiny real model: splits, iterations, resuming and references change nothing they should not.

All runs begin with the same weights; what is compared is the weights they end with.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import TrainerCallback

from llamafactory_hind.engines.interface import Capabilities, Completion, FinishReason, Prompt, Sampling
from llamafactory_hind.engines.local.encoding import media_token_ids
from llamafactory_hind.engines.open import RolloutEngines
from llamafactory_hind.losses.reduce import masked_mean, masked_sum, normaliser
from llamafactory_hind.trainers import sharding
from llamafactory_hind.trainers.rollouts.batch import batch_of
from llamafactory_hind.trainers.rollouts.description import RunDescription
from llamafactory_hind.trainers.rollouts.order import BlockSampler
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import KINDS, GroupRelative, RolloutSetup, even_share


pytestmark = pytest.mark.train


# A step is the gradient itself: Adam would hide its size.
STILL = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 1.0, "max_steps": 1}


@pytest.fixture(scope="module")
def full(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


@pytest.fixture(autouse=True)
def same_start(full: RolloutSetup) -> Iterator[None]:
    """Every test finds and leaves the module's model as it was."""
    before = deepcopy(full.model.state_dict())
    yield
    full.model.load_state_dict(before)
    full.model.zero_grad()


def moved(setup: RolloutSetup, out: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train from the setup's weights, put them back, return how far each went and the log."""
    before = deepcopy(setup.model.state_dict())
    trainer = setup.trainer(out, **changes)
    trainer.train(resume_from_checkpoint=changes.pop("resume_from_checkpoint", None))
    after = deepcopy(setup.model.state_dict())
    setup.model.load_state_dict(before)
    return {name: tensor - before[name] for name, tensor in after.items()}, trainer.state.log_history


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, atol: float) -> None:
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=atol, rtol=1e-3, msg=name)


@pytest.mark.parametrize("reduction", ["sequence", "token", "constant"])
def test_component_sums_are_the_masked_mean(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    values, mask = torch.randn(6, 5, generator=generator), torch.rand(6, 5, generator=generator) > 0.4
    mask[2] = False
    whole = masked_mean(values, mask, reduction=reduction)
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    count = sum(normaliser(mask[part], reduction=reduction, length=5) for part in parts)
    total = sum(masked_sum(values[part], mask[part], reduction=reduction) for part in parts)
    torch.testing.assert_close(total / count, whole)


def test_what_stands_outside_the_mask_is_never_read() -> None:
    values = torch.tensor([[1.0, math.nan], [math.inf, 2.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [False, True]])
    masked_sum(values, mask, reduction="sequence").backward()
    assert values.grad.tolist() == [[1, 0], [0, 1]]


def test_blocks_repeat_and_epochs_differ() -> None:
    """Five rows in blocks of two, twice each: the last block is filled from the beginning of the epoch."""
    sampler = BlockSampler(5, block=2, repeats=2, seed=0, shuffle=False)
    assert list(sampler) == [0, 1, 0, 1, 2, 3, 2, 3, 4, 0, 4, 0]
    assert len(sampler) == 12
    once = BlockSampler(5, block=2, repeats=1, seed=0, shuffle=True)
    first = list(once)
    assert sorted(first) == [0, 1, 2, 3, 4] == sorted(set(first))
    assert list(once) == first
    once.set_epoch(1)
    assert list(once) != first
    assert len(once) == 5


@pytest.mark.parametrize("reduction", ["sequence", "token", "constant"])
def test_accumulation_is_one_large_batch(full: RolloutSetup, reduction: str, tmp_path: Path) -> None:
    annotator = GroupRelative(even_share, reduction=reduction)
    features = full.features(KINDS * 2)
    shared = {"features": features, "annotator": annotator, **STILL}
    whole, log = moved(full, tmp_path / "whole", per_device_train_batch_size=8, **shared)
    parts, other_log = moved(
        full, tmp_path / "parts", per_device_train_batch_size=1, gradient_accumulation_steps=8, **shared
    )
    assert max(value.abs().max() for value in whole.values()) > 1e-2
    same(whole, parts, atol=3e-5)
    for key in ("loss", "reward", "grad_norm", "entropy", "completion_length", "zero_variance_share"):
        assert log[0][key] == pytest.approx(other_log[0][key], abs=1e-5), key


def test_the_gradient_is_the_one_of_the_formula(full: RolloutSetup, tmp_path: Path) -> None:
    """One SGD step of rate 1 moves the weights by the gradient of sum_i A_i sum_t log pi / tokens, from whole rows."""
    seen: list[Any] = []

    class Watching(GroupRelative):
        def annotate(self, rollouts):
            seen.append(super().annotate(rollouts))
            return seen[-1]

    found, _ = moved(
        full, tmp_path, annotator=Watching(even_share, reduction="token"), per_device_train_batch_size=4, **STILL,
    )  # fmt: skip
    batch = batch_of(seen[0], device=torch.device("cpu"))
    logps = GroupScorer(full.loaded, temperature=0.9, share_prefix="off").plain(full.model, batch)
    full.model.zero_grad()
    (-(logps * batch.advantages[:, None])[batch.mask].mean()).backward()
    for name, entry in full.model.named_parameters():
        if entry.grad is not None:
            torch.testing.assert_close(found[name], -entry.grad, atol=2e-5, rtol=1e-3, msg=name)


def test_equal_rewards_teach_nothing(full: RolloutSetup, tmp_path: Path) -> None:
    found, log = moved(full, tmp_path, annotator=GroupRelative(lambda ids: 0.7), max_steps=2)
    assert not any(value.any() for value in found.values())
    assert log[0]["grad_norm"] == 0
    assert log[0]["zero_variance_share"] == 1
    assert log[0]["loss"] == 0  # logged, not taken for missing


def test_rows_without_any_reward_teach_nothing_and_break_nothing(full: RolloutSetup, tmp_path: Path) -> None:
    found, log = moved(full, tmp_path, annotator=GroupRelative(lambda ids: math.nan), max_steps=1)
    assert not any(value.any() for value in found.values())
    assert "reward" not in log[0]  # a mean of nothing is not logged as NaN
    assert math.isfinite(log[0]["loss"])


def test_sharing_and_checkpointing_change_nothing(small_world: Path, full: RolloutSetup, tmp_path: Path) -> None:
    shared = {"per_device_train_batch_size": 4, "options": {"share_prefix": "on"}, **STILL}
    expected, _ = moved(full, tmp_path / "plain", **{**shared, "options": {"share_prefix": "off"}})
    found, _ = moved(full, tmp_path / "shared", **shared)
    same(expected, found, atol=3e-5)
    checkpointed = RolloutSetup(small_world, checkpointing=True)
    checkpointed.model.load_state_dict(full.model.state_dict())
    found, _ = moved(checkpointed, tmp_path / "checkpointed", **shared)
    same(expected, found, atol=3e-5)


def test_a_model_that_cannot_share_says_why_or_stops(
    full: RolloutSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, model: Any, batch: Any) -> None:
        raise RuntimeError("no cache here")

    monkeypatch.setattr(GroupScorer, "cached", refuse)
    trainer = full.trainer(tmp_path, max_steps=1, features=full.features(["text", "image"]))
    trainer.train()
    assert trainer.scorer.mode == "plain"
    with pytest.raises(
        ValueError, match="`share_prefix: on` is not possible with this model: RuntimeError: no cache here"
    ):
        full.trainer(tmp_path, options={"share_prefix": "on"}, features=full.features(["text", "image"])).train()


def test_several_iterations_learn_from_the_same_rollouts(full: RolloutSetup, tmp_path: Path) -> None:
    """Two passes over each block: ratios are 1 in the first and move in the second; old log-probs are those of the first."""
    annotator = GroupRelative(even_share)
    calls = []
    ratios = []
    inner = annotator.components[0].per_token
    object.__setattr__(
        annotator.components[0],
        "per_token",
        lambda logps, old, ref, batch: (
            ratios.append(((logps - old) * batch.mask).abs().max().item()) or inner(logps, old, ref, batch)
        ),
    )
    score = annotator.score
    annotator.score = lambda rollouts: calls.append([r.row_id for r in rollouts]) or score(rollouts)
    moved(
        full, tmp_path, annotator=annotator, options={"num_iterations": 2}, max_steps=4, per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    assert [len(rows) for rows in calls] == [2, 2]  # four steps, two rollouts
    assert len(ratios) == 8
    assert ratios[0] == ratios[1] == ratios[4] == ratios[5] == 0
    assert min(ratios[2:4] + ratios[6:8]) > 1e-3


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


@pytest.mark.parametrize(("iterations", "stop"), [(1, 3), (2, 3), (2, 4)])
def test_resumes_exactly_also_between_two_passes(
    small_world: Path, iterations: int, stop: int, tmp_path: Path
) -> None:
    """Six steps in a row, or stopped after `stop` and resumed with a fresh model: the same weights; epochs of two blocks."""
    shared = {
        "features": None, "max_steps": 6, "save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 1, "options": {"num_iterations": iterations},
        "annotator": GroupRelative(even_share, kl_beta=0.05),
    }  # fmt: skip

    def setup() -> RolloutSetup:
        return RolloutSetup(small_world, tuning={"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"})

    whole = setup()
    whole.trainer(tmp_path / "whole", **shared).train()
    stopped = setup().trainer(tmp_path / "stopped", callbacks=[StopAt(stop)], **shared)
    stopped.train()
    assert stopped.state.global_step == stop
    torch.manual_seed(99)  # another process would not have the same state either
    again = setup()
    resumed = again.trainer(tmp_path / "stopped", **shared)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / f"checkpoint-{stop}"))
    assert resumed.state.global_step == 6
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, atol=1e-7, rtol=1e-5, msg=name)


def test_resuming_without_the_rollouts_says_so(full: RolloutSetup, tmp_path: Path) -> None:
    shared = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "options": {"num_iterations": 2}}
    full.trainer(tmp_path, callbacks=[StopAt(1)], **shared).train()
    (tmp_path / "checkpoint-1" / "rollouts_0.pt").unlink()
    with pytest.raises(FileNotFoundError, match="between two passes over the same rollouts"):
        full.trainer(tmp_path, **shared).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_kl_holds_a_lora_to_its_base(small_world: Path, tmp_path: Path) -> None:
    """At the start the adapter says nothing: KL 0. Then it grows, and a large beta keeps it smaller."""
    tuning = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"}
    ends = {}
    for beta in (0.001, 50.0):
        setup = RolloutSetup(small_world, tuning=tuning)
        annotator = GroupRelative(even_share, kl_beta=beta)
        kl = annotator.components[1]
        object.__setattr__(kl, "metrics", lambda logps, old, ref, batch: {"kl": (logps - ref).abs()})
        trainer = setup.trainer(tmp_path / str(beta), annotator=annotator, max_steps=8, learning_rate=2e-3)
        trainer.train()
        history = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
        assert history[0] == pytest.approx(0, abs=1e-5)
        ends[beta] = history[-1]
    assert ends[0.001] > 2 * ends[50.0] > 0


def test_kl_needs_a_reference(full: RolloutSetup, tmp_path: Path) -> None:
    annotator = GroupRelative(even_share, kl_beta=0.1)
    with pytest.raises(ValueError, match="needs a reference"):
        full.trainer(tmp_path, annotator=annotator)
    trainer = full.trainer(tmp_path, annotator=annotator, reference=deepcopy(full.model), max_steps=2)
    trainer.train()
    assert trainer.state.log_history[0]["loss/kl"] == pytest.approx(0, abs=1e-6)
    assert trainer.state.log_history[1]["loss/kl"] > 1e-6


def test_media_tokens_are_never_written_and_ids_are_kept(full: RolloutSetup, tmp_path: Path) -> None:
    """An output head that wants nothing but the image placeholder: the policy writes other tokens, and learns from those ids."""
    banned = media_token_ids(full.loaded)
    with torch.no_grad():
        full.model.lm_head.weight[banned] = full.model.lm_head.weight.mean(0) + 5.0
    seen: list[Any] = []

    class Watching(GroupRelative):
        def annotate(self, rollouts):
            seen.append(rollouts)
            return super().annotate(rollouts)

    trainer = full.trainer(tmp_path, annotator=Watching(even_share), max_steps=1)
    learnt: list[list[int]] = []
    compute = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, **options: (
        learnt.extend(inputs["batch"].completion(row) for row in range(len(inputs["batch"].owners)))
        or compute(model, inputs, **options)
    )
    trainer.train()
    written = [ids for rollout in seen[0] for ids in rollout.completion_ids]
    assert not {token for ids in written for token in ids} & set(banned)
    assert learnt == written


def test_samples_depend_on_row_and_step_alone(full: RolloutSetup) -> None:
    trainer = full.trainer(Path("unused"), options={"num_generations": 2})
    features = full.features(KINDS)
    together = trainer.generator.generate(features, stream="7")
    backwards = trainer.generator.generate(features[::-1], stream="7")[::-1]
    later = trainer.generator.generate(features, stream="8")
    for one, two, three in zip(together, backwards, later, strict=True):
        assert one.completion_ids == two.completion_ids
        assert one.completion_ids != three.completion_ids


def test_evaluates_greedy_and_sampled(full: RolloutSetup, tmp_path: Path) -> None:
    trainer = full.trainer(tmp_path, options={"num_generations": 2}, per_device_eval_batch_size=3)
    first = trainer.evaluate(full.features(KINDS * 2))
    assert {"eval_reward", "eval_reward_mean@2", "eval_rewards/own", "eval_truncated_share"} <= first.keys()
    again = trainer.evaluate(full.features(KINDS * 2))
    assert again["eval_reward_mean@2"] == first["eval_reward_mean@2"]
    by_hand = [
        even_share(rollout.completion_ids[0])
        for rollout in trainer.generator.generate(full.features(KINDS * 2), stream="evaluation", greedy_first=True)
    ]
    assert first["eval_reward"] == pytest.approx(sum(by_hand) / len(by_hand))


class ElsewhereEngine:
    """Writes as a server would: it knows the policy by `sync` alone. `seen` holds the policy's weight at each call."""

    capabilities = Capabilities(texts=True, scores=False, images=True, videos=True, token_ids=True, syncs=True)

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []
        self.weight = float("nan")

    def sync(self, model: torch.nn.Module) -> None:
        self.weight = model.lm_head.weight.double().sum().item()
        self.seen.append(("sync", self.weight))

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        *,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        self.seen.append(("write", self.weight))
        count = len(sampling.temperatures)
        return [[Completion("x", (30, 31 + n), None, FinishReason.LENGTH) for n in range(count)] for _ in prompts]


def test_an_engine_elsewhere_gets_the_weights_before_every_rollout(full: RolloutSetup, tmp_path: Path) -> None:
    """Three steps on one rollout each, and an evaluation: sync, write, with weights that move between."""
    engine = ElsewhereEngine()
    trainer = full.trainer(tmp_path, engines=RolloutEngines(lambda **_: engine), max_steps=3)
    before = full.model.lm_head.weight.double().sum().item()
    trainer.train()
    trainer.evaluate(full.features(KINDS[:1]))
    assert [event for event, _ in engine.seen] == ["sync", "write"] * 4
    weights = [weight for event, weight in engine.seen if event == "write"]
    assert weights[0] == before
    assert len(set(weights)) == 4
    assert weights[-1] == full.model.lm_head.weight.double().sum().item()
    (row, *_) = pq.read_table(min((tmp_path / "completions").iterdir())).to_pylist()
    assert row["finish_reason"] == "length"


def test_the_best_checkpoint_has_the_best_reward(full: RolloutSetup, tmp_path: Path) -> None:
    trainer = full.trainer(
        tmp_path, max_steps=3, learning_rate=2e-2, eval_strategy="steps", eval_steps=1, save_strategy="steps",
        save_steps=1, load_best_model_at_end=True, eval_dataset=full.features(KINDS),
    )  # fmt: skip
    assert trainer.args.metric_for_best_model == "eval_reward"
    trainer.train()
    rewards = [entry["eval_reward"] for entry in trainer.state.log_history if "eval_reward" in entry]
    assert trainer.state.best_metric == max(rewards)
    assert trainer.state.best_global_step == 1 + rewards.index(max(rewards))


def test_every_completion_is_on_disk(full: RolloutSetup, tmp_path: Path) -> None:
    trainer = full.trainer(tmp_path, max_steps=2, gradient_accumulation_steps=2, per_device_train_batch_size=1)
    trainer.train()
    files = sorted((tmp_path / "completions").iterdir())
    assert [file.name for file in files] == ["00000001-00000.parquet", "00000002-00000.parquet"]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len(rows) == 2 * 2 * 3
    assert {row["row_id"] for row in rows} == {f"row-{number}" for number in range(4)}
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    for step, reward in enumerate(logged, 1):
        mine = [row["reward"] for row in rows if row["step"] == step]
        assert sum(mine) / len(mine) == pytest.approx(reward)
    assert all(row["reward"] == row["reward/own"] and row["source"] == "policy" for row in rows)
    assert all('"answer": "moss"' in row["columns"] for row in rows)
    assert any("images/" in row["media"] for row in rows)


def test_checkpoints_join_steps_and_evaluations_are_kept(full: RolloutSetup, tmp_path: Path) -> None:
    """Five steps, a checkpoint after every second and the last: their steps are joined, and the evaluation has its file."""
    described = RunDescription({"stage": "mine", "rewards": {"own": 1.0}}, full.world)
    trainer = full.trainer(
        tmp_path, max_steps=5, eval_strategy="steps", eval_steps=5, save_strategy="steps", save_steps=2,
        eval_dataset=full.features(KINDS), described=described,
    )  # fmt: skip
    trainer.train()
    folder = tmp_path / "completions"
    assert sorted(file.name for file in folder.iterdir()) == [
        "_eval-00000005-00000.parquet",
        "_run.json",
        "part-00000001-00000002.parquet",
        "part-00000003-00000004.parquet",
        "part-00000005-00000005.parquet",
    ]
    rows = pq.read_table(folder).to_pylist()
    assert len(rows) == 5 * 2 * 3
    assert {(row["step"], row["group"], row["sample"]) for row in rows} == {
        (step, group, sample) for step in range(1, 6) for group in range(2) for sample in range(3)
    }
    assert {name for row in rows for name in json.loads(row["media"])["images"]} <= {
        f"images/{path.name}" for path in (full.world / "images").iterdir()
    }
    evaluated = pq.read_table(folder / "_eval-00000005-00000.parquet").to_pylist()
    assert len(evaluated) == len(KINDS) * (1 + 3)  # a greedy one and the sampled ones
    assert {row["group"] for row in evaluated} == set(range(len(KINDS)))
    assert {(row["split"], row["kept"], row["advantage"]) for row in evaluated} == {("eval", False, None)}
    assert json.loads((folder / "_run.json").read_text())["rewards"] == {"own": 1.0}


def test_a_split_model_is_refused_before_anything_is_written(
    full: RolloutSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "sharding_of", lambda accelerator: "zero_3")
    with pytest.raises(ValueError, match=r"expected no DeepSpeed ZeRO-3\. Completions are written by the whole model"):
        full.trainer(tmp_path)
