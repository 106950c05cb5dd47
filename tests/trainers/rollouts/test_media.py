"""What is computed once: frozen towers, the prompts' inputs, a cache that grows in place. Each equals the plain computation."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from llamafactory_hind.engines.local.cache import preallocate
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.towers import TowerCache, frozen_towers, share_frozen
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch, prompt_of
from llamafactory_hind.trainers.rollouts.prompt_inputs import PromptInputs
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import KINDS, GroupRelative, RolloutSetup, even_share


FROZEN = {"finetuning_type": "full"}  # the host freezes the tower unless told otherwise


@pytest.fixture(scope="module")
def frozen(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world, tuning=FROZEN)


def count_calls(module: torch.nn.Module) -> list[int]:
    """Count the passes through a module, from the inside."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    module.patch_embed.register_forward_hook(count)
    return calls


def test_only_frozen_towers_are_remembered(small_world: Path, frozen: RolloutSetup) -> None:
    assert frozen_towers(frozen.model) == [frozen.model.model.visual]
    trained = RolloutSetup(small_world, tuning={"finetuning_type": "full", "freeze_vision_tower": False})
    assert frozen_towers(trained.model) == []
    lora = RolloutSetup(small_world, tuning={"finetuning_type": "lora", "lora_target": "all"})
    assert len(frozen_towers(lora.model)) == 1


def test_the_same_picture_is_looked_at_once_and_another_is_not_mistaken_for_it(frozen: RolloutSetup) -> None:
    memo, calls = TowerCache(frozen.model), count_calls(frozen.model.model.visual)
    scorer = GroupScorer(frozen.loaded, temperature=0.9, share_prefix="auto")
    one, other = frozen.batch(["image"]), frozen.batch(["two_images"])
    with torch.no_grad():
        expected = [scorer.cached(frozen.model, batch) for batch in (one, other)]
        calls[0] = 0
        with memo.active():
            for _ in range(3):
                for batch, logps in zip((one, other), expected, strict=True):
                    assert torch.equal(scorer.cached(frozen.model, batch), logps)
    assert calls[0] == 2
    memo.clear()
    with torch.no_grad(), memo.active():
        scorer.cached(frozen.model, one)
    assert calls[0] == 3
    assert "forward" not in frozen.model.model.visual.__dict__


def test_gradients_are_those_without_memory(frozen: RolloutSetup) -> None:
    scorer = GroupScorer(frozen.loaded, temperature=0.9, share_prefix="auto")
    batch = frozen.batch(KINDS)
    memo = TowerCache(frozen.model)
    with torch.no_grad(), memo.active():
        scorer.cached(frozen.model, batch)  # remembered without gradient, as when writing

    def remembering(model: torch.nn.Module, batch: RolloutBatch) -> torch.Tensor:
        with memo.active():
            return scorer.cached(model, batch)

    found = []
    for mode in (scorer.cached, remembering):
        frozen.model.zero_grad()
        mode(frozen.model, batch).sum().backward()
        found.append({name: p.grad.clone() for name, p in frozen.model.named_parameters() if p.grad is not None})
    frozen.model.zero_grad()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_reference_shares_what_is_frozen_and_equal(frozen: RolloutSetup) -> None:
    reference = deepcopy(frozen.model)
    with torch.no_grad():
        reference.model.visual.blocks[0].attn.proj.weight[0, 0] += 1  # no longer equal: stays its own
    saved = share_frozen(frozen.model, reference)
    tower = frozen.model.model.visual
    assert saved == sum(p.numel() for p in tower.parameters()) - sum(
        p.numel() for p in tower.blocks[0].attn.proj.parameters()
    )
    assert reference.model.visual.merger is tower.merger
    assert reference.model.visual.blocks[0].attn.proj is not tower.blocks[0].attn.proj
    assert reference.model.language_model is not frozen.model.model.language_model
    trained = {id(entry) for entry in frozen.model.parameters() if entry.requires_grad}
    assert not trained & {id(entry) for entry in reference.parameters()}


@pytest.mark.train
def test_training_with_a_reference_looks_once_a_step(frozen: RolloutSetup, tmp_path: Path) -> None:
    trainer = frozen.trainer(
        tmp_path,
        annotator=GroupRelative(even_share, kl_beta=0.1),
        reference=deepcopy(frozen.model),
        features=frozen.features(["image", "two_images"]),
        max_steps=3,
    )
    calls = count_calls(frozen.model.model.visual)
    steps = []
    roll = trainer._generate_rollouts
    trainer._generate_rollouts = lambda prompts: steps.append(calls[0]) or roll(prompts)
    trainer.train()
    assert calls[0] - steps[2] == 1  # writing, reference and loss; the first step also compares the ways


@pytest.mark.train
def test_accumulated_prompts_look_once_a_picture(frozen: RolloutSetup, tmp_path: Path) -> None:
    """Writing collates all four prompts, the loss one at a time: the tower sees each patch of a step once all the same."""
    images = sorted(str(path) for path in (frozen.world / "images").glob("*.png"))[:4]
    (feature,) = frozen.features(["image"])
    features = [{**feature, "images": [image], "row_id": image} for image in images]
    patches = {}
    for name, sizes in (("one_batch", (4, 1)), ("accumulated", (1, 4))):
        seen: list[int] = []
        hook = frozen.model.model.visual.patch_embed.register_forward_hook(
            lambda _, args, __, seen=seen: seen.append(len(args[0]))
        )
        trainer = frozen.trainer(
            tmp_path / name, features=features, max_steps=2, learning_rate=0.0,
            per_device_train_batch_size=sizes[0], gradient_accumulation_steps=sizes[1],
        )  # fmt: skip
        roll, steps = trainer._generate_rollouts, []
        trainer._generate_rollouts = lambda prompts, roll=roll, steps=steps, seen=seen: (
            steps.append(len(seen)) or roll(prompts)
        )
        trainer.train()
        hook.remove()
        patches[name] = seen[steps[1] :]  # the first step also compares the ways, and proves this one
    assert len(patches["one_batch"]) == 1
    assert patches["accumulated"] == patches["one_batch"]


def test_prompts_are_collated_once(frozen: RolloutSetup) -> None:
    inputs = PromptInputs(frozen.loaded)
    prompts = [prompt_of(feature) for feature in frozen.features(["image", "text"])]
    first = inputs(prompts)
    assert inputs(prompts)["pixel_values"] is first["pixel_values"]
    assert inputs(prompts[:1])["pixel_values"] is not first["pixel_values"]
    expected, _ = collate(frozen.loaded, prompts, padding_side="left")
    for name, value in expected.items():
        assert torch.equal(first[name], value), name
    inputs.clear()
    assert inputs(prompts)["pixel_values"] is not first["pixel_values"]


def test_a_roomy_cache_holds_what_a_growing_one_does() -> None:
    generator = torch.Generator().manual_seed(0)
    roomy, plain = DynamicCache(), DynamicCache()
    for step, (rows, new) in enumerate([(3, 5), (3, 1), (3, 1), (2, 1), (2, 1)]):
        if step == 1:
            preallocate(roomy, room=4)
        if step == 3:
            for cache in (roomy, plain):
                cache.batch_select_indices(torch.tensor([2, 0]))
        for layer in range(2):
            keys, values = (torch.randn(rows, 2, new, 4, generator=generator) for _ in range(2))
            for found, expected in zip(
                roomy.update(keys, values, layer), plain.update(keys, values, layer), strict=True
            ):
                assert torch.equal(found, expected)
        assert roomy.get_seq_length() == plain.get_seq_length()
