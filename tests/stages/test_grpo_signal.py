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

    names, weights = ["letters", "words"], [1.0, 0.5]

    def __init__(self, silent: Sequence[str] = ()) -> None:
        self.silent = silent

    def score(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Scored:
        loud = [kind not in self.silent for kind in columns["kind"]]
        letters = [len(set(text)) / 10 if there else 0.0 for text, there in zip(texts, loud, strict=True)]
        words = [len(text.split()) / 2 if there else 0.0 for text, there in zip(texts, loud, strict=True)]
        total = [one + other / 2 for one, other in zip(letters, words, strict=True)]
        return Scored({"letters": letters, "words": words}, total, {})


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def moved(
    setup: RolloutSetup, out: Path, *, silent: Sequence[str] = (), endless: bool = False, **keys: Any
) -> tuple[float, dict[str, float]]:
    """Return how far one SGD step goes, and the log line."""
    before = deepcopy(setup.model.state_dict())
    arguments = FinetuningArguments(stage="grpo", finetuning_type="full", freeze_vision_tower=False, **keys)
    annotator = GroupRelative(Letters(silent), arguments, max_new_tokens=6)
    trainer = setup.trainer(out, annotator=annotator, features=setup.features(KINDS), **STILL)
    if endless:
        trainer.generator.engine.stop_ids = media_token_ids(setup.loaded)  # which are never written
    trainer.train()
    after = deepcopy(setup.model.state_dict())
    setup.model.load_state_dict(before)
    setup.model.zero_grad()
    far = max((after[name] - tensor).abs().max().item() for name, tensor in before.items())
    return far, trainer.state.log_history[0]


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
