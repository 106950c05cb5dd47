"""Training on rollouts of the stand-in server is training on the same completions of `hf`; what differs is weighted or refused."""

import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from llamafactory_hind.engines.interface import Completion
from llamafactory_hind.engines.open import RolloutEngines
from llamafactory_hind.engines.vllm.agreement import ServersFailed
from llamafactory_hind.trainers.rollouts.batch import batch_of
from llamafactory_hind.trainers.rollouts.correction import RolloutCorrection
from shared.rollouts import GroupRelative, RolloutSetup, even_share
from shared.served_rollouts import FULL, LORA, Recorder, Replay, served
from shared.vllm_server import VllmServer


pytestmark = pytest.mark.train
KINDS = ("image", "two_images", "text")
STEPS = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.5, "max_steps": 2, "per_device_train_batch_size": 3}


@pytest.fixture(scope="module")
def server(small_world: Path) -> Any:
    with VllmServer(small_world / "tiny") as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server: VllmServer) -> None:
    server.forget()
    server.faults.__init__()
    server.bodies.clear()


def policy_component(annotator: GroupRelative) -> GroupRelative:
    """Mark the policy loss as one that is weighted."""
    annotator.components[0] = replace(annotator.components[0], corrected=True)
    return annotator


def trained(
    setup: RolloutSetup, out: Path, engines: RolloutEngines, *, resume: str | None = None, **changes: Any
) -> Any:
    """Train from the setup's weights, put them back, return how far each went and the log."""
    before = deepcopy(setup.model.state_dict())
    given = {
        "annotator": policy_component(GroupRelative(even_share)),
        "features": setup.features(KINDS),
        "options": {"correction": RolloutCorrection("token_truncate", 2.0)},
        **STEPS,
        **changes,
    }
    trainer = setup.trainer(out, engines=engines, **given)
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        engines.close()
        after = deepcopy(setup.model.state_dict())
        setup.model.load_state_dict(before)
    return {name: tensor - before[name] for name, tensor in after.items()}, trainer.state.log_history


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
def test_two_steps_over_http_are_those_of_hf(
    tuning: dict[str, Any], server: VllmServer, small_world: Path, tmp_path: Path
) -> None:
    """Weights move alike to 1e-5: the completions are the same and all ratios 1; the second step is written with new weights."""
    setup = RolloutSetup(small_world, tuning=tuning)
    engines = served(setup, tmp_path / "served", server)
    recorder = Recorder(engines.served)
    moved, log = trained(setup, tmp_path / "served", engines)
    replayed = RolloutEngines(lambda **_: Replay(recorder.groups))
    expected, _ = trained(setup, tmp_path / "hf", replayed)
    assert max(float(tensor.abs().max()) for tensor in expected.values()) > 1e-3
    for name, tensor in expected.items():
        torch.testing.assert_close(moved[name], tensor, atol=1e-5, rtol=1e-3, msg=name)
    steps = [entry for entry in log if "rollout/version" in entry]
    assert [entry["rollout/version"] for entry in steps] == [1, 2]
    for entry in steps:
        assert entry["rollout/logp_diff_max"] < 1e-4
        assert entry["rollout/ratio_mean"] == pytest.approx(1, abs=1e-5)
        assert entry["rollout/clipped_share"] == 0
        assert entry["rollout/sync_seconds"] > 0
    assert server.label == "default"  # released, and no adapter is left
    assert not server.adapters
    assert not (tmp_path / "served" / "rollout_weights").exists()
    salts = [body["cache_salt"] for body in server.bodies]
    assert len(set(salts[-3:])) == 1
    assert len(set(salts)) == 2


class Shifted(Replay):
    """A writer whose log-probs are lower by a number than those of the policy."""

    def __init__(self, groups: dict[str, list[Completion]], shift: float) -> None:
        super().__init__(groups)
        self.shift = shift

    def generate_prompts(self, prompts: Any, keys: Any, sampling: Any, **more: Any) -> Any:
        def shifted(each: Completion) -> Completion:
            return replace(each, sampling_logps=tuple(logp - self.shift for logp in each.sampling_logps))

        return [[shifted(each) for each in self.groups[key]] for key in keys]


def test_the_policy_loss_is_weighted(server: VllmServer, small_world: Path, tmp_path: Path) -> None:
    """By hand: log-probs that are lower by log 1.5 weigh every token 1.5, and the step of SGD is 1.5 times as long."""
    setup = RolloutSetup(small_world, tuning=LORA)
    engines = served(setup, tmp_path / "a", server)
    recorder = Recorder(engines.served)
    plain, _ = trained(setup, tmp_path / "a", engines, max_steps=1)
    writer = Shifted(recorder.groups, math.log(1.5))
    longer, log = trained(setup, tmp_path / "b", RolloutEngines(lambda **_: writer), max_steps=1)
    assert log[0]["rollout/ratio_mean"] == pytest.approx(1.5, abs=1e-4)
    for name, tensor in plain.items():
        torch.testing.assert_close(longer[name], 1.5 * tensor, atol=1e-5, rtol=1e-3, msg=name)


def test_texts_of_other_models_are_not_weighted(small_world: Path) -> None:
    """Two completions of the policy, lower by log 2, and an external action, which has no log-prob of a writer."""
    setup = RolloutSetup(small_world)
    (rollout,) = setup.rollouts(setup.features(["text"]), group=3)
    lengths = [len(ids) for ids in rollout.completion_ids]
    logps = [(-1.0,) * lengths[0], (-1.0,) * lengths[1], ()]
    rollout = replace(rollout, sampling_logps=logps, sources=["policy", "policy", "other"])
    batch = batch_of(GroupRelative(even_share).annotate([rollout]), device=torch.device("cpu"))
    old = torch.full(batch.tokens.shape, -1.0 + math.log(2.0))
    weights = RolloutCorrection("token_truncate", 3.0).weights(old, batch)
    assert weights is not None
    expected = [[2.0] * length + [1.0] * (max(lengths) - length) for length in lengths[:2]] + [[1.0] * max(lengths)]
    torch.testing.assert_close(weights, torch.tensor(expected))
    found = RolloutCorrection("token_mask", 1.5).metrics(old, batch)
    assert len(found["rollout/ratio_mean"]) == sum(lengths[:2])
    assert found["rollout/clipped_share"].mean() == 1
    assert RolloutCorrection("none", 1.0).weights(old, batch) is None


def test_a_server_with_other_log_probs_is_found_before_a_weight_moves(
    server: VllmServer, small_world: Path, tmp_path: Path
) -> None:
    """Raw log-probs at a temperature of 0.9, met by the probe; weights that are not used, met in the second step."""
    setup = RolloutSetup(small_world, tuning=LORA)
    server.faults.raw = True
    with pytest.raises(ServersFailed, match=r"differ from the trainer's by .* processed_logprobs"):
        trained(setup, tmp_path / "raw", served(setup, tmp_path / "raw", server))
    server.faults.raw, server.faults.ignores_weights = False, True
    with pytest.raises(ServersFailed, match="differ from the trainer's"):
        trained(setup, tmp_path / "stale", served(setup, tmp_path / "stale", server), learning_rate=20.0)


class Patient(TrainerCallback):
    """Learning that goes on only when the server was asked for so many groups in all; it waits a minute for them."""

    def __init__(self, server: VllmServer, groups: Sequence[int]) -> None:
        self.server, self.groups, self.asked = server, list(groups), []

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        end = time.monotonic() + 60
        while len(self.server.bodies) < self.groups[len(self.asked)] and time.monotonic() < end:
            time.sleep(0.01)
        self.asked.append(len(self.server.bodies))


def test_the_next_step_is_written_while_this_one_is_learnt(
    server: VllmServer, small_world: Path, tmp_path: Path
) -> None:
    """Three steps of three prompts: before the first weight moves, all requests of the second step are there; none of a fourth.

    The second step is written with the first weights, the third with the second; the last weights write nothing.
    """
    setup = RolloutSetup(small_world, tuning=LORA)
    engines = served(setup, tmp_path, server)
    probe = 2
    patient = Patient(server, [probe + 6, probe + 9, probe + 9])
    features = [
        {**feature, "row_id": f"{feature['row_id']}/{part}"} for part in range(3) for feature in setup.features(KINDS)
    ]
    _, log = trained(
        setup,
        tmp_path,
        engines,
        features=features,
        callbacks=[patient],
        options={"correction": RolloutCorrection("token_truncate", 2.0), "ahead": 1},
        max_steps=3,
    )
    assert patient.asked == patient.groups
    versions = [body["model"].rpartition("-")[2] for body in server.bodies[probe:]]
    assert versions == ["1"] * 6 + ["2"] * 3
    ratios = [entry["rollout/logp_diff_max"] for entry in log if "rollout/logp_diff_max" in entry]
    assert ratios[0] < 1e-4 < min(ratios[1:])  # the first step alone is on-policy


def test_a_run_that_writes_ahead_resumes_exactly(server: VllmServer, small_world: Path, tmp_path: Path) -> None:
    """What was written ahead of a checkpoint came from weights that are gone; the resumed run learns from it all the same."""
    setup = RolloutSetup(small_world, tuning=LORA)
    features = [
        {**feature, "row_id": f"{feature['row_id']}/{part}"} for part in range(4) for feature in setup.features(KINDS)
    ]
    options = {"options": {"correction": RolloutCorrection("token_truncate", 2.0), "ahead": 1}, "features": features}
    saved = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole, log = trained(setup, tmp_path / "a", served(setup, tmp_path / "a", server), **options, **saved)
    checkpoint = tmp_path / "a" / "checkpoint-2"
    assert (checkpoint / "rollouts_ahead_0.json").is_file()
    server.forget()
    resumed, again = trained(
        setup, tmp_path / "b", served(setup, tmp_path / "b", server), resume=str(checkpoint), **options, **saved
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-6, rtol=1e-4, msg=name)
    losses = [[entry["loss"] for entry in each if "loss" in entry] for each in (log, again)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
