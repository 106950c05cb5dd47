"""`entropy_target` in the trainer with a real tiny model: what the coefficient does, off and resumed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from llamafactory.hparams import FinetuningArguments
from transformers import TrainerCallback

from llamafactory_hind.rewards import Scored
from llamafactory_hind.stages.grpo import GroupRelative
from llamafactory_hind.trainers.rollouts.control import Controls
from shared.rollouts import RolloutSetup


pytestmark = pytest.mark.train


class Letters:
    """A reward: different letters of a text."""

    names = ("letters",)
    weights = (1.0,)

    def score(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Scored:
        values = [len(set(text)) / 10 for text in texts]
        return Scored({"letters": values}, values, {})


class StopAt(TrainerCallback):
    """Ends a run after a step, as a user would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


def annotator(**keys: Any) -> GroupRelative:
    arguments = FinetuningArguments(stage="grpo", finetuning_type="full", freeze_vision_tower=False, **keys)
    return GroupRelative(Letters(), arguments, max_new_tokens=6)


def run(small_world: Path, out: Path, *, stop: int | None = None, resume: int | None = None, **keys: Any) -> Any:
    setup = RolloutSetup(small_world)
    shared = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 2}
    shared |= {"per_device_train_batch_size": 1, "callbacks": [] if stop is None else [StopAt(stop)]}
    trainer = setup.trainer(out, annotator=annotator(**keys), features=setup.features(["text"] * 2), **shared)
    trainer.train(resume_from_checkpoint=None if resume is None else str(out / f"checkpoint-{resume}"))
    lines = [line for line in trainer.state.log_history if "loss/entropy_bonus" in line]
    return lines, {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}


def test_off_there_is_no_control() -> None:
    """Null and a coefficient of 0: nothing is measured, and the components are those of GRPO."""
    off = annotator()
    assert (list(off.controls), off.objective, len(off.components)) == ([], None, 1)
    constant = annotator(entropy_coef=0.1)
    assert constant.components[1].weight_now == 0.1


def test_it_rises_step_by_step_and_a_resumed_run_is_the_same(small_world: Path, tmp_path: Path) -> None:
    """The entropy of random weights (near log V) is below a target of 100 nats: 0.01, then 0.015, 0.020.

    A run stopped after the second step and resumed has the third coefficient, and the weights.
    """
    keys = {"entropy_target": 100.0, "entropy_coef": 0.01}
    lines, whole = run(small_world, tmp_path / "whole", **keys)
    assert [line["entropy_coef"] for line in lines] == pytest.approx([0.01, 0.015, 0.02])
    run(small_world, tmp_path / "stopped", stop=2, **keys)
    kept = json.loads((tmp_path / "stopped" / "checkpoint-2" / "controls.json").read_text())["entropy_coef"]
    assert kept["coefficient"] == pytest.approx(0.02)
    assert kept["entropy"] == pytest.approx(-lines[1]["loss/entropy_bonus"], abs=0.2)  # over tokens, not completions
    resumed_lines, resumed = run(small_world, tmp_path / "stopped", resume=2, **keys)
    assert resumed_lines[-1]["entropy_coef"] == pytest.approx(0.02)
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-7, rtol=1e-5, msg=name)


class Batch:
    """What a control looks at."""

    def __init__(self, entropies: list[list[float]], mask: list[list[bool]]) -> None:
        self.mask, self.token_streams = torch.tensor(mask), {"entropy": torch.tensor(entropies)}


class Log:
    """Takes the values of a line."""

    def __init__(self) -> None:
        self.averages, self.values = self, []

    def add(self, name: str, total: float, count: float) -> None:
        self.values.append(total / count)


def test_a_step_is_the_mean_over_its_tokens(tmp_path: Path) -> None:
    """Two micro-batches: 1 and 2 nats, then 6 of one token: (1 + 2 + 6) / 3 = 3 above the target of 2: off, and down to 0.005."""
    (target,) = annotator(entropy_target=2.0, entropy_coef=0.01).controls
    controls, log = Controls([target], 1), Log()
    controls.measure(Batch([[1.0, 2.0]], [[True, True]]), log, share=0.5)
    controls.done(2)
    assert target.value == 0.01, "a step that is not done changes nothing"
    controls.measure(Batch([[6.0, 9.0]], [[True, False]]), log, share=0.5)
    controls.done(2)
    assert log.values == [0.01, 0.01]
    assert (target.entropy, target.value) == (3.0, 0.0)
    assert target.coefficient == pytest.approx(0.005)
    controls.save(tmp_path)
    (other,) = annotator(entropy_target=2.0).controls
    Controls([other], 1).restore(tmp_path)
    assert (other.state(), other.value) == (target.state(), 0.0)


def test_a_checkpoint_of_a_run_without_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("llamafactory_hind.trainers.rollouts.control.logger.warning_rank0", said.append, raising=False)
    Controls(annotator(entropy_target=2.0).controls, 1).restore(tmp_path)
    assert "starts anew" in said[0]
