"""A teacher that reads a whole step at once: its states by hand, and the same numbers with one trip of its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.teachers.local import LocalTeacher
from llamafactory_hind.methods.distillation.divergence import Distillation
from llamafactory_hind.methods.distillation.kept import KeptStates
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.parts import score_with
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import RolloutSetup
from shared.teachers import kept_teacher, open_teachers


HEAD = {"weight": torch.zeros(4, 2), "bias": None}


def batch_by_hand() -> RolloutBatch:
    """Two prompts with one completion each, of two tokens and of one."""
    return RolloutBatch(
        prompts=[Prompt([1], [], Request(())), Prompt([2], [], Request(()))],
        owners=torch.tensor([0, 1]),
        tokens=torch.tensor([[5, 6], [7, 0]]),
        mask=torch.tensor([[True, True], [True, False]]),
        advantages=torch.zeros(2),
        streams={},
        sources=["policy"] * 2,
    )


def test_any_part_finds_its_states_by_hand() -> None:
    batch, kept = batch_by_hand(), KeptStates(None)
    hidden = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    assert kept.find("a", batch) is None
    kept.keep("a", batch, hidden, HEAD)
    assert kept.find("a", batch)[0].tolist() == hidden.tolist()
    assert kept.find("a", batch.take(torch.tensor([1])))[0].tolist() == [[5, 6]]
    assert kept.find("b", batch) is None, "another teacher"
    other = batch_by_hand()
    assert kept.find("a", other) is None, "other prompts, though they read alike"
    kept.clear()
    assert kept.find("a", batch) is None


def test_bfloat16_is_kept_and_the_heads_precision_comes_back() -> None:
    """1 + 2^-9 is between two numbers of bfloat16, and becomes 1."""
    batch, kept = batch_by_hand(), KeptStates(torch.bfloat16)
    kept.keep("a", batch, torch.full((3, 2), 1 + 2**-9), HEAD)
    found = kept.find("a", batch)[0]
    assert (found.dtype, found.unique().tolist()) == (torch.float32, [1.0])


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the outermost `ready` of a teacher is entered."""
    found: list[int] = []
    ready, depth = LocalTeacher.ready, [0]

    @contextmanager
    def counted(self: LocalTeacher) -> Iterator[Any]:
        found.extend([1] * (depth[0] == 0))
        depth[0] += 1
        try:
            with ready(self) as model:
                yield model
        finally:
            depth[0] -= 1

    monkeypatch.setattr(LocalTeacher, "ready", counted)
    return found


@pytest.mark.slow
def test_one_trip_a_step_and_the_same_numbers(setup: RolloutSetup, small_world: Path, trips: list[int]) -> None:
    """Two micro-batches, the second also a completion at a time, and twice over the same: one trip in place of many."""
    teachers = open_teachers(setup, kept_teacher(small_world, words=1088, dropout=0.5))
    batches = [setup.batch(["text", "image"], group=2), setup.batch(["image"], group=2)]
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    scorer.mode = "cache"

    def streams(objective: Distillation) -> list[torch.Tensor]:
        ways = [(batches[0], None), (batches[1], None), (batches[1], 1)] * 2
        with torch.no_grad():
            return [
                score_with(objective, scorer, setup.model, batch, rows_at_once=rows)[1]["divergence"]
                for batch, rows in ways
            ]

    def objective(**changes: Any) -> Distillation:
        return Distillation(
            teachers,
            rows=lambda batch: torch.ones(len(batch.owners), dtype=torch.bool),
            beta=0.5,
            temperature=1.0,
            **changes,
        )

    expected = streams(objective())
    assert len(trips) == 8
    trips.clear()
    once = objective()
    once.prepare_step(batches)
    found = streams(once)
    assert len(trips) == 1
    rounded = objective(states_dtype=torch.bfloat16)
    rounded.prepare_step(batches)
    for one, other, near in zip(expected, found, streams(rounded), strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(near, one, atol=2e-2, rtol=5e-2)
    once.clear()
    trips.clear()
    streams(once)
    assert len(trips) == 8, "nothing is kept of the last prompts"
