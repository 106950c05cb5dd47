"""The proof of the modes of scoring: on telling rows, with measured noise, again after resuming and for new rows."""

from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import KINDS, GroupRelative, RolloutSetup, even_share


pytestmark = pytest.mark.slow


LORA = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"}
STEPS = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 1, "max_steps": 3}


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[list[RolloutBatch]]:
    """The batches of each proof."""
    seen: list[list[RolloutBatch]] = []
    select_mode = GroupScorer.select_mode

    def watch(self: GroupScorer, model: Any, batch: Any, **options: Any) -> Any:
        seen.append([batch] if isinstance(batch, RolloutBatch) else list(batch))
        return select_mode(self, model, batch, **options)

    monkeypatch.setattr(GroupScorer, "select_mode", watch)
    return seen


@pytest.mark.train
def test_looks_at_every_kind_of_row_before_the_first_rollout(
    small_world: Path, tmp_path: Path, compared: list[list[RolloutBatch]]
) -> None:
    """Rows text, text, image, two images, video, one a micro-batch: pictures, clip and the longest row are compared, at full length."""
    setup = RolloutSetup(small_world)
    order: list[str] = []
    trainer = setup.trainer(
        tmp_path,
        features=setup.features(["text", "text", "image", "two_images", "video"]),
        max_steps=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=5,
    )
    generate = trainer.generator.generate
    trainer.generator.generate = lambda *args, **options: (
        order.append(f"rollout after {len(compared)} proofs") or generate(*args, **options)
    )
    trainer.train()
    assert order == ["rollout after 1 proofs"]
    prompts = [prompt for batch in compared[0] for prompt in batch.prompts]
    media = {(len(prompt.request.images), len(prompt.request.videos)) for prompt in prompts}
    assert media >= {(2, 0), (0, 1), (0, 0)}
    assert all(len(batch.prompts) == 1 for batch in compared[0])  # as many as in training
    assert {int(batch.mask.sum(1).max()) for batch in compared[0]} == {6}  # max_new_tokens
    assert len(compared) == 1  # nothing new came


def test_a_longer_row_or_another_kind_is_proved_again(small_world: Path) -> None:
    setup = RolloutSetup(small_world)
    scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
    text, image = setup.batch(["text"]), setup.batch(["image"])
    assert not scorer.covers(text)
    assert scorer.select_mode(setup.model, image, half=False) is None
    assert not scorer.covers(text)  # shorter, of another kind
    assert scorer.select_mode(setup.model, text, half=False) is None
    assert scorer.covers(text)
    assert scorer.covers(image)
    assert not scorer.covers(setup.batch(["two_images"]))  # longer
    right = scorer.cached
    scorer.cached = lambda model, batch: right(model, batch) + 1e-2
    assert scorer.select_mode(setup.model, setup.batch(["two_images"]), half=False) is not None
    assert scorer.mode == "plain"
    scorer.cached = right
    assert scorer.select_mode(setup.model, text, half=False) is not None  # what was refused once stays refused


@pytest.mark.train
def test_the_trainer_proves_again_what_it_has_not_seen(
    small_world: Path, tmp_path: Path, compared: list[list[RolloutBatch]]
) -> None:
    setup = RolloutSetup(small_world)
    trainer = setup.trainer(tmp_path, features=setup.features(["text"]), max_steps=1, per_device_train_batch_size=1)
    trainer.train()
    assert len(compared) == 1
    trainer.modes.repeat(trainer.model, [setup.batch(["text"])])
    assert len(compared) == 2  # completions of up to eight tokens, where six are the most that a run may write
    trainer.modes.repeat(trainer.model, [setup.batch(["image"])])
    trainer.modes.repeat(trainer.model, [setup.batch(["image"])])
    assert len(compared) == 3


@pytest.mark.parametrize("mode", ["cached", "packed"])
def test_half_precision_is_measured_against_its_own_noise(small_world: Path, mode: str) -> None:
    """The right way passes in bfloat16; with one token of many off by 0.3, which an average of 0.05 would let through, it does not."""
    setup = RolloutSetup(small_world, checkpointing=mode == "packed")
    setup.model.train()
    batch = setup.batch(KINDS, group=6)

    def reason(error: float) -> str | None:
        scorer = GroupScorer(setup.loaded, temperature=0.9, share_prefix="auto")
        right = getattr(scorer, mode)

        def wrong(model: Any, some: RolloutBatch, *score: Any) -> torch.Tensor:
            found = right(model, some, *score).clone()
            found[0, 0] += error
            return found

        setattr(scorer, mode, wrong)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return scorer.select_mode(setup.model, batch, half=True)

    assert reason(0.0) is None
    assert "log-probs differ from the plain path by up to" in reason(0.3)


def unknown_head(setup: RolloutSetup) -> None:
    """Logits are changed where no chunked head can see it."""

    inner = setup.model.get_base_model()
    forward = inner.forward

    @wraps(forward)
    def scaled(*args: Any, **inputs: Any) -> Any:
        output = forward(*args, **inputs)
        output.logits = output.logits * 1.3
        return output

    inner.forward = scaled  # peft calls it by this name, past any hook


@pytest.mark.train
@pytest.mark.parametrize("known", [True, False], ids=["known head", "unknown head"])
def test_killed_between_two_passes_the_resumed_run_proves_again_and_equals_the_run(
    small_world: Path, tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three passes over a block, stopped after the first: mode and head are those of the run, and so are the weights."""
    used: list[tuple[int, str, bool]] = []

    def run(folder: Path, stop: int | None = None, resume: str | None = None) -> dict[str, torch.Tensor]:
        setup = RolloutSetup(small_world, tuning=LORA)
        if not known:
            unknown_head(setup)
        trainer = setup.trainer(
            folder, callbacks=[StopAt(stop)] if stop else [], options={"num_iterations": 3}, **STEPS,
            annotator=GroupRelative(even_share, kl_beta=0.05),
        )  # fmt: skip
        compute = trainer.compute_loss
        trainer.compute_loss = lambda *args, **options: (
            used.append((trainer.state.global_step, trainer.scorer.mode, trainer.scorer.chunked))
            or compute(*args, **options)
        )
        trainer.train(resume_from_checkpoint=resume)
        return setup.model.state_dict()

    whole = run(tmp_path / "whole")
    expected, used[:] = list(used), []
    run(tmp_path / "stopped", stop=1)
    torch.manual_seed(99)
    resumed = run(tmp_path / "stopped", resume=str(tmp_path / "stopped" / "checkpoint-1"))
    assert used == expected
    assert expected == [(step, "cache", known) for step in range(3)]
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-7, rtol=1e-5, msg=name)
