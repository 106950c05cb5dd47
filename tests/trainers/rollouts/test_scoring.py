"""The three ways to score groups: equal in value and gradient, whatever the padding, the order and the batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import KINDS, RolloutSetup


pytestmark = pytest.mark.slow


@pytest.fixture
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def gradients(model: torch.nn.Module, logps: torch.Tensor, loaded: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (logps * loaded).sum().backward()
    return {name: entry.grad.clone() for name, entry in model.named_parameters() if entry.grad is not None}


def by_hand(setup: RolloutSetup, batch: RolloutBatch, row: int, temperature: float) -> torch.Tensor:
    """One completion alone through the model's own forward: full logits, no padding, no sharing."""
    from llamafactory_hind.engines.interface import Prompt
    from llamafactory_hind.engines.local.encoding import collate

    prompt = batch.prompts[int(batch.owners[row])]
    ids = batch.completion(row)
    inputs, _ = collate(setup.loaded, [Prompt(prompt.input_ids, ids, prompt.request)], padding_side="right")
    logits = setup.model(**inputs, use_cache=False).logits[0] / temperature
    start = len(prompt.input_ids)
    logps = logits[start - 1 : start + len(ids) - 1].log_softmax(-1)
    return logps.gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("mode", ["cached", "packed", "plain"])
def test_every_way_gives_the_models_own_log_probs(setup: RolloutSetup, mode: str) -> None:
    scorer = GroupScorer(setup.loaded, temperature=0.7, share_prefix="auto")
    batch = setup.batch(KINDS)
    with torch.no_grad():
        found = getattr(scorer, mode)(setup.model, batch)
        assert found.shape == batch.tokens.shape
        assert not found[~batch.mask].any()
        for row in range(len(batch.owners)):
            expected = by_hand(setup, batch, row, 0.7)
            torch.testing.assert_close(found[row][batch.mask[row]], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "tuning",
    [
        {"finetuning_type": "full", "freeze_vision_tower": False},
        {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
    ],
    ids=lambda tuning: tuning["finetuning_type"],
)
def test_every_way_gives_the_same_gradient(small_world: Path, tuning: dict) -> None:
    setup = RolloutSetup(small_world, tuning=tuning)
    for name, entry in setup.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(entry, std=0.05)  # at 0 the adapter would say nothing
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    batch = setup.batch(KINDS)
    loaded = torch.randn(batch.tokens.shape, generator=torch.Generator().manual_seed(1)) * batch.mask
    plain = gradients(setup.model, scorer.plain(setup.model, batch), loaded)
    assert any(value.abs().max() > 1e-3 for value in plain.values())
    if tuning.get("freeze_vision_tower") is False:
        assert plain["model.visual.patch_embed.proj.weight"].abs().max() > 1e-4
    for mode in (scorer.cached, scorer.packed):
        found = gradients(setup.model, mode(setup.model, batch), loaded)
        assert found.keys() == plain.keys()
        for name, value in plain.items():
            torch.testing.assert_close(found[name], value, atol=3e-5, rtol=1e-4, msg=f"{mode.__name__} {name}")


def test_order_and_split_change_nothing(setup: RolloutSetup) -> None:
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    with torch.no_grad():
        rollouts = setup.rollouts(setup.features(KINDS))
        together = score(setup, scorer.cached, rollouts)
        backwards = score(setup, scorer.cached, rollouts[::-1])
        alone = [score(setup, scorer.cached, [rollout])[0] for rollout in rollouts]
    for one, two, three in zip(together, backwards[::-1], alone, strict=True):
        for first, second, third in zip(one, two, three, strict=True):
            torch.testing.assert_close(first, second, atol=1e-5, rtol=0)
            torch.testing.assert_close(first, third, atol=1e-5, rtol=0)


def score(setup: RolloutSetup, mode: Callable, rollouts: list) -> list[list[torch.Tensor]]:
    from llamafactory_hind.trainers.rollouts.batch import batch_of
    from shared.rollouts import GroupRelative, even_share

    batch = batch_of(GroupRelative(even_share).annotate(rollouts), device=torch.device("cpu"))
    logps = mode(setup.model, batch)
    rows = [logps[row][batch.mask[row]] for row in range(len(batch.owners))]
    size = len(rollouts[0].completion_ids)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def test_chooses_the_cache_or_the_packed_row(small_world: Path) -> None:
    for checkpointing, mode in ((False, "cache"), (True, "packed")):
        setup = RolloutSetup(small_world, checkpointing=checkpointing)
        setup.model.train()
        scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
        assert scorer.select_mode(setup.model, setup.batch(KINDS), half=False) is None
        assert scorer.mode == mode


def test_checkpointed_gradient_is_the_plain_one(small_world: Path) -> None:
    setup = RolloutSetup(small_world, checkpointing=True)
    setup.model.train()
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    batch = setup.batch(KINDS)
    loaded = batch.mask.float()
    packed = gradients(setup.model, scorer.packed(setup.model, batch), loaded)
    plain = gradients(setup.model, scorer.plain(setup.model, batch), loaded)
    for name, value in plain.items():
        torch.testing.assert_close(packed[name], value, atol=3e-5, rtol=1e-4, msg=name)


def test_a_way_that_would_change_the_numbers_is_refused(setup: RolloutSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions that start again at the prompt's length, not after its largest mRoPE position, are noticed."""
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    right = scorer.cached
    monkeypatch.setattr(scorer, "cached", lambda model, batch: right(model, batch) + 1e-3)
    reason = scorer.select_mode(setup.model.train(), setup.batch(KINDS), half=False)
    assert "differ from the plain path by up to 1.00e-03" in reason
    assert scorer.mode == "plain"


def test_eager_attention_takes_the_packed_mask(small_world: Path) -> None:
    setup = RolloutSetup(small_world, attention="eager")
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    batch = setup.batch(KINDS)
    with torch.no_grad():
        torch.testing.assert_close(
            scorer.packed(setup.model, batch), scorer.plain(setup.model, batch), atol=1e-5, rtol=0
        )
