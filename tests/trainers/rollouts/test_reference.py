"""The reference of the KL term is the model as it was loaded: base, trained adapter, trained copy of a module."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from llamafactory_hind.trainers.rollouts.reference import Reference, has_learnt
from shared.rollouts import GroupRelative, RolloutSetup, even_share


LORA = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"}


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def trained_adapter(world: Path, *, seed: int = 0, **tuning: Any) -> RolloutSetup:
    """A policy that goes on with an adapter, as after sft: what is trained has moved."""
    setup = RolloutSetup(world, tuning={**LORA, **tuning})
    generator = torch.Generator().manual_seed(seed)
    for name, entry in setup.model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            entry.data += 0.1 * torch.randn(entry.shape, generator=generator)
    return setup


def watched() -> GroupRelative:
    """KL of weight 0.05, its size logged."""
    annotator = GroupRelative(even_share, kl_beta=0.05)
    object.__setattr__(annotator.components[1], "metrics", lambda logps, old, ref, batch: {"kl": (logps - ref).abs()})
    return annotator


def kl_of(trainer: Any) -> list[float]:
    return [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]


@pytest.mark.train
@pytest.mark.parametrize("tuning", [{}, {"additional_target": "lm_head"}], ids=["lora", "trained copy of the head"])
def test_a_trained_adapter_is_its_own_reference(small_world: Path, tmp_path: Path, tuning: dict[str, Any]) -> None:
    """0 nats before the first update, more after it; against the bare base it would be 0.1 and more from the start."""
    setup = trained_adapter(small_world, **tuning)
    trainer = setup.trainer(tmp_path, annotator=watched(), max_steps=3)
    with torch.no_grad():
        batch = setup.batch()
        own = trainer.scorer(setup.model, batch)
        with setup.model.disable_adapter():
            base = trainer.scorer(setup.model, batch)
        assert (own - base)[batch.mask].abs().mean() > 0.1
    trainer.train()
    assert kl_of(trainer)[0] == pytest.approx(0, abs=1e-6)
    assert kl_of(trainer)[-1] > 1e-4


@pytest.mark.train
def test_the_copy_is_neither_trained_nor_saved(small_world: Path, tmp_path: Path) -> None:
    setup = trained_adapter(small_world)
    before = {name: entry.detach().clone() for name, entry in setup.model.named_parameters() if entry.requires_grad}
    trainer = setup.trainer(tmp_path, annotator=watched(), max_steps=2, save_strategy="steps", save_steps=2)
    trainer.train()
    assert all(torch.equal(trainer.reference.copy[name], tensor) for name, tensor in before.items())
    assert any(
        not torch.equal(entry, before[name]) for name, entry in setup.model.named_parameters() if name in before
    )
    assert list(setup.model.peft_config) == ["default"]
    saved = load_file(tmp_path / "checkpoint-2" / "adapter_model.safetensors")
    assert len(saved) == len(before)
    assert not [path for path in (tmp_path / "checkpoint-2").iterdir() if path.is_dir()]


@pytest.mark.train
def test_a_resumed_run_has_the_reference_of_the_run(small_world: Path, tmp_path: Path) -> None:
    """The adapter is loaded as it was before the checkpoint's takes its place: the same weights as in one go."""
    shared = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 1}
    whole = trained_adapter(small_world)
    run = whole.trainer(tmp_path / "whole", annotator=watched(), **shared)
    run.train()
    trained_adapter(small_world).trainer(
        tmp_path / "stopped", annotator=watched(), callbacks=[StopAt(2)], **shared
    ).train()
    again = trained_adapter(small_world)
    resumed = again.trainer(tmp_path / "stopped", annotator=watched(), **shared)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-2"))
    assert kl_of(resumed) == pytest.approx(kl_of(run), abs=1e-6)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, atol=1e-7, rtol=1e-5, msg=name)


def test_says_which_reference_it_is(small_world: Path, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("llamafactory")
    logger.addHandler(handler)
    try:
        fresh, trained = RolloutSetup(small_world, tuning=LORA), trained_adapter(small_world)
        assert not has_learnt(fresh.model)
        assert has_learnt(trained.model)
        assert not Reference(fresh.model, None).copy
        assert Reference(trained.model, None).copy
        assert not Reference(trained.model, torch.nn.Linear(1, 1)).copy
    finally:
        logger.removeHandler(handler)
    told = [line for line in said if line.startswith("Reference of the KL term")]
    assert [("adapter off" in line, "as it was loaded" in line) for line in told] == [
        (True, False),
        (False, True),
        (False, False),
    ]
