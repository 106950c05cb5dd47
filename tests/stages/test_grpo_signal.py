"""The keys that say which completions teach, in the trainer with a real tiny model: steps they leave out, and steps they do not."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from llamafactory.hparams import FinetuningArguments

from llamafactory_hind.engines.local.encoding import media_token_ids
from llamafactory_hind.rewards import Scored
from llamafactory_hind.stages.grpo import GroupRelative
from shared.rollouts import KINDS, RolloutSetup


pytestmark = pytest.mark.train
STILL = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 1.0, "max_steps": 1, "per_device_train_batch_size": 4}


class Letters:
    """Two rewards: letters of the text, and its words; rows of `silent` kinds get 0 for everything."""

    names = ("letters", "words")

    def __init__(self, silent: Sequence[str] = ()) -> None:
        self.silent, self.weights = silent, [1.0, 0.5]

    def score(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Scored:
        loud = [kind not in self.silent for kind in columns["kind"]]
        letters = [len(set(text)) / 10 if there else 0.0 for text, there in zip(texts, loud, strict=True)]
        words = [len(text.split()) / 2 if there else 0.0 for text, there in zip(texts, loud, strict=True)]
        first, second = self.weights
        total = [first * one + second * other for one, other in zip(letters, words, strict=True)]
        return Scored({"letters": letters, "words": words}, total, {})


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def moved(
    setup: RolloutSetup, out: Path, *, silent: Sequence[str] = (), endless: bool = False, **keys: Any
) -> tuple[float, dict[str, float]]:
    """Return how far one SGD step goes, and the log line."""
    step, logs = trained(setup, out, silent=silent, endless=endless, **keys)
    return max(tensor.abs().max().item() for tensor in step.values()), logs[0]


def trained(
    setup: RolloutSetup,
    out: Path,
    *,
    silent: Sequence[str] = (),
    endless: bool = False,
    settings: Mapping[str, Any] = STILL,
    **keys: Any,
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Return how each weight moves, and the log lines."""
    before = deepcopy(setup.model.state_dict())
    arguments = FinetuningArguments(stage="grpo", finetuning_type="full", freeze_vision_tower=False, **keys)
    annotator = GroupRelative(Letters(silent), arguments, max_new_tokens=6)
    reference = {"reference": deepcopy(setup.model)} if keys.get("kl_beta") else {}
    trainer = setup.trainer(out, annotator=annotator, features=setup.features(KINDS), **settings, **reference)
    if endless:
        trainer.generator.engine.stop_ids = media_token_ids(setup.loaded)  # which are never written
    trainer.train()
    after = deepcopy(setup.model.state_dict())
    setup.model.load_state_dict(before)
    setup.model.zero_grad()
    return {name: after[name] - tensor for name, tensor in before.items()}, trainer.state.log_history


def test_each_choice_takes_a_step(setup: RolloutSetup, tmp_path: Path) -> None:
    """At a ratio of 1 the surrogates have one gradient, so the lengths of these steps are equal; other advantages change it."""
    plain, _ = moved(setup, tmp_path / "plain")
    assert plain > 0
    for number, keys in enumerate([{"ratio_level": "sequence"}, {"policy_loss": "cispo"}]):
        assert moved(setup, tmp_path / str(number), **keys)[0] == pytest.approx(plain, rel=1e-3)
    for number, keys in enumerate([{"advantage_scale": "batch"}, {"reward_normalization": "each"}]):
        far, _ = moved(setup, tmp_path / f"other{number}", **keys)
        assert far > 0
        assert far != pytest.approx(plain, rel=1e-3)


def test_completions_that_were_cut_do_not_teach(setup: RolloutSetup, tmp_path: Path) -> None:
    far, log = moved(setup, tmp_path, endless=True, mask_truncated=True)
    assert log["truncated_share"] == 1
    assert far == 0


def test_the_penalty_is_logged_as_a_reward(setup: RolloutSetup, tmp_path: Path) -> None:
    """The buffer is the whole length of 6 tokens, so the penalty is 0.5 times the share that is written."""
    _, log = moved(setup, tmp_path, overlong_buffer=6, overlong_penalty=0.5)
    assert log["rewards/overlong"] == pytest.approx(-0.5 * log["completion_length"] / 6)
    assert log["reward"] == pytest.approx(log["rewards/letters"] + log["rewards/words"] / 2 + log["rewards/overlong"])


def test_groups_outside_the_range_do_not_teach(setup: RolloutSetup, tmp_path: Path) -> None:
    far, log = moved(setup, tmp_path, group_reward_range=[90.0, 100.0])
    assert far == 0
    assert log["groups_in_range"] == 0


def test_other_prompts_take_the_place_of_silent_ones(setup: RolloutSetup, tmp_path: Path) -> None:
    _, log = moved(setup, tmp_path, silent=["text", "video"], dynamic_sampling=True, max_resample_times=8)
    assert log["resampled"] == 0.5
    assert log["zero_variance_share"] == 0
    rows = pq.read_table(tmp_path / "completions").to_pydict()["row_id"]
    assert set(rows) == {"row-0", "row-1"}  # of the kinds that have rewards
    assert torch.isfinite(torch.tensor(log["loss"]))


def test_the_entropy_bonus_is_a_part_of_its_own(setup: RolloutSetup, tmp_path: Path) -> None:
    """Its gradient is added to that of the policy loss: twice the coefficient is twice the difference; `loss/entropy_bonus` is -H."""
    plain, _ = trained(setup, tmp_path / "plain")
    once, logs = trained(setup, tmp_path / "once", entropy_coef=0.1)
    twice, _ = trained(setup, tmp_path / "twice", entropy_coef=0.2)
    largest = max((once[name] - plain[name]).abs().max().item() for name in plain)
    assert largest > 1e-4
    for name, step in plain.items():
        torch.testing.assert_close(twice[name] - step, 2 * (once[name] - step), atol=2e-2 * largest, rtol=1e-2)
    assert (
        0
        < -logs[0]["loss/entropy_bonus"]
        < torch.log(torch.tensor(float(setup.model.config.get_text_config().vocab_size)))
    )


def test_the_entropy_rises(setup: RolloutSetup, tmp_path: Path) -> None:
    """With equal rewards for all, nothing but the bonus moves the weights, and it moves them to more entropy."""
    many = {**STILL, "max_steps": 6, "learning_rate": 0.3}
    _, logs = trained(setup, tmp_path, silent=KINDS, settings=many, entropy_coef=1.0)
    found = [-log["loss/entropy_bonus"] for log in logs if "loss/entropy_bonus" in log]
    assert found[-1] > found[0] + 1e-3


def test_the_kl_is_taken_off_the_reward(setup: RolloutSetup, tmp_path: Path) -> None:
    """At the first step policy and reference are one: no penalty, and the step of `kl_beta: 0`. Later the reward holds it.

    The penalty is beta times the sum over tokens, as in TRL's RLOOTrainer; the log says it per completion and, as `kl`, per token.
    """
    plain, _ = trained(setup, tmp_path / "plain")
    first, logs = trained(setup, tmp_path / "first", kl_beta=0.5, kl_in_reward=True)
    assert logs[0]["rewards/kl_penalty"] == pytest.approx(0, abs=1e-5)
    assert "loss/kl" not in logs[0]
    for name, step in plain.items():
        torch.testing.assert_close(first[name], step, atol=1e-3, rtol=1e-2)
    two = {**STILL, "max_steps": 2, "learning_rate": 0.5}
    _, logs = trained(setup, tmp_path / "two", settings=two, kl_beta=0.5, kl_in_reward=True)
    second = logs[1]
    assert second["rewards/kl_penalty"] != 0
    assert second["reward"] == pytest.approx(
        second["rewards/letters"] + second["rewards/words"] / 2 + second["rewards/kl_penalty"], abs=1e-5
    )
    rows = pq.read_table(tmp_path / "two" / "completions").to_pylist()
    late = [row for row in rows if row["step"] == 2]
    kl = sum(-row["reward/kl_penalty"] / 0.5 / row["tokens"] for row in late) / len(late)
    assert second["kl"] == pytest.approx(kl, abs=1e-5)


def test_weights_of_rewards_move(setup: RolloutSetup, tmp_path: Path) -> None:
    """Three steps from (1, 0.5) to (0, 1): the middle one weighs 0.5 and 0.75."""
    three = {**STILL, "max_steps": 3, "learning_rate": 0.0}
    _, logs = trained(setup, tmp_path, settings=three, reward_weights_end=[0.0, 1.0])
    steps = [log for log in logs if "reward_weight/letters" in log]
    assert [log["reward_weight/letters"] for log in steps] == pytest.approx([1.0, 0.5, 0.0])
    assert [log["reward_weight/words"] for log in steps] == pytest.approx([0.5, 0.75, 1.0])
    middle = steps[1]
    assert middle["reward"] == pytest.approx(0.5 * middle["rewards/letters"] + 0.75 * middle["rewards/words"])
