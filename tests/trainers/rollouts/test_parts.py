"""A micro-batch a few completions at a time: the values, gradients and streams of the whole pass, and less memory."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from llamafactory_hind.methods.entropy import Entropy
from llamafactory_hind.trainers.rollouts.parts import score_with
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import KINDS, GroupRelative, RolloutSetup, even_share


pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def found(setup: RolloutSetup, mode: str, rows: int | None, *, objective: Any = None) -> list[torch.Tensor]:
    """Return log-probs, streams and the gradient of every weight."""
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    scorer.mode = mode
    batch = setup.batch(KINDS)
    weights = torch.randn(batch.tokens.shape, generator=torch.Generator().manual_seed(1)) * batch.mask
    setup.model.zero_grad()
    logps, streams = score_with(objective, scorer, setup.model, batch, rows_at_once=rows)
    loss = (logps * weights).sum() + sum((values * weights.abs()).sum() for values in streams.values())
    loss.backward()
    gradients = [entry.grad.clone() for _, entry in sorted(setup.model.named_parameters()) if entry.grad is not None]
    return [logps.detach(), *(values.detach() for values in streams.values()), *gradients]


@pytest.mark.parametrize("mode", ["cache", "packed", "plain"])
@pytest.mark.parametrize("rows", [1, 5])
def test_parts_are_the_whole(setup: RolloutSetup, mode: str, rows: int) -> None:
    """Twelve completions of four prompts; 5 at a time cuts through groups. Other rows together round otherwise."""
    objective = Entropy(0.9)
    whole, parts = (found(setup, mode, count, objective=objective) for count in (None, rows))
    assert len(whole) == len(parts)
    assert any(values.abs().max() > 1e-3 for values in whole[2:])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6 if mode == "cache" else 3e-5, rtol=1e-4)


def test_a_model_that_checkpoints_itself(small_world: Path) -> None:
    setup = RolloutSetup(small_world, checkpointing=True)
    setup.model.train()
    for one, other in zip(found(setup, "packed", None), found(setup, "packed", 4), strict=True):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-4)


def test_a_part_at_a_time_keeps_less(setup: RolloutSetup) -> None:
    """What the graph keeps for the backward pass, counted in bytes: with parts, little more than the prompts."""
    kept = {}
    for rows in (None, 1):
        scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
        scorer.mode = "cache"
        batch = setup.batch(KINDS)
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()  # noqa: B023
            return tensor

        prefixes = scorer.prefixes(setup.model, batch)
        scorer.prefixes = lambda model, batch: prefixes  # noqa: B023
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            score_with(None, scorer, setup.model, batch, rows_at_once=rows)
        kept[rows] = sum(sizes.values())
    assert kept[1] < kept[None] / 4


def test_training_steps_are_the_same(setup: RolloutSetup, tmp_path: Path) -> None:
    """The whole trainer with KL: losses and log lines of two steps do not depend on the key."""
    before = deepcopy(setup.model.state_dict())
    logs, after = [], []
    for rows in (None, 2):
        setup.model.load_state_dict(before)
        annotator = GroupRelative(even_share, kl_beta=0.1)
        trainer = setup.trainer(
            tmp_path / str(rows),
            annotator=annotator,
            features=setup.features(KINDS),
            reference=deepcopy(setup.model),
            options={"rows_at_once": rows},
        )
        trainer.train()
        logs.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
        after.append(deepcopy(setup.model.state_dict()))
    setup.model.load_state_dict(before)
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)
    for name, tensor in after[0].items():
        torch.testing.assert_close(tensor, after[1][name], atol=2e-5, rtol=1e-3, msg=name)
