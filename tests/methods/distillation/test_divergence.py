"""Divergence from a teacher inside the policy's pass, against whole rows and full logits of both models, in float64.

The twin takes one completion at a time through each model's own forward, its own prompt before it, and shifts both by hand.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from llamafactory_hind.engines.interface import Prompt
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.scoring import UnsupportedHead
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.methods.distillation.divergence import ROUTE, Distillation
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.components import Component
from llamafactory_hind.trainers.rollouts.parts import score_with, spread
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer
from shared.rollouts import GroupRelative, RolloutSetup, even_share
from shared.teachers import kept_teacher, open_teachers, write_teacher, write_yaml


pytestmark = pytest.mark.slow


LORA = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": "all"}
# Norms and positions of the models are computed in float32 even so.
CLOSE = {"atol": 1e-9, "rtol": 1e-7}
CLOSE_GRADIENT = {"atol": 1e-7, "rtol": 1e-5}
WAYS = {"cache": "cached", "packed": "packed", "plain": "plain"}


@pytest.fixture(scope="module")
def full(small_world: Path) -> RolloutSetup:
    setup = RolloutSetup(small_world)
    setup.model.double()
    return setup


@pytest.fixture(scope="module")
def wide_path(small_world: Path) -> Path:
    """Wider than the student, a larger vocabulary, and a config that asks for dropout."""
    return kept_teacher(small_world, words=1088, dropout=0.5)


@pytest.fixture(scope="module")
def teachers(full: RolloutSetup, wide_path: Path) -> Any:
    found = open_teachers(full, wide_path)
    found.local("default").loaded.model.double()
    return found


def all_rows(batch: RolloutBatch) -> torch.Tensor:
    return torch.ones(len(batch.owners), dtype=torch.bool)


def distillation(teachers: Any, **changes: Any) -> Distillation:
    return Distillation(teachers, **{"rows": all_rows, "beta": 0.3, "temperature": 1.0, **changes})


def whole_logits(loaded: LoadedModel, prompt: Prompt, ids: Sequence[int]) -> torch.Tensor:
    """Logits (len(ids), V) that predict `ids` behind `prompt`, from the model's own forward without padding or sharing."""
    inputs, _ = collate(loaded, [Prompt(prompt.input_ids, list(ids), prompt.request)], padding_side="right")
    start = len(prompt.input_ids)
    return loaded.model(**inputs, use_cache=False).logits[0, start - 1 : start + len(ids) - 1]


def plain_jsd(student: torch.Tensor, teacher: torch.Tensor, beta: float, temperature: float) -> torch.Tensor:
    """beta KL(T || M) + (1 - beta) KL(S || M), M = (1 - beta) S + beta T, over the words that both have."""
    words = min(student.shape[-1], teacher.shape[-1])
    p = (student[:, :words] / temperature).softmax(-1)
    q = (teacher[:, :words] / temperature).softmax(-1).detach()
    mixed = (1 - beta) * p + beta * q
    return (beta * q * (q / mixed).log() + (1 - beta) * p * (p / mixed).log()).sum(-1)


def twin(
    setup: RolloutSetup,
    teacher: LoadedModel,
    batch: RolloutBatch,
    *,
    beta: float = 0.3,
    temperature: float = 1.0,
    prompts: Sequence[Prompt] | None = None,
) -> torch.Tensor:
    """(R, S) divergences, one completion after the other."""
    rows = []
    for row, owner in enumerate(batch.owners.tolist()):
        ids = batch.completion(row)
        own = whole_logits(setup.loaded, batch.prompts[owner], ids)
        with torch.no_grad():
            other = whole_logits(teacher, (prompts or batch.prompts)[owner], ids)
        values = plain_jsd(own, other, beta, temperature)
        rows.append(torch.nn.functional.pad(values, (0, batch.tokens.shape[1] - len(ids))))
    return torch.stack(rows)


def scorer_of(setup: RolloutSetup, mode: str) -> GroupScorer:
    scorer = GroupScorer(setup.loaded, temperature=0.7, share_prefix="auto")
    scorer.mode = mode
    return scorer


def gradients(model: torch.nn.Module, stream: torch.Tensor, loaded: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (stream * loaded).sum().backward()
    return {name: entry.grad.clone() for name, entry in model.named_parameters() if entry.grad is not None}


@pytest.mark.slow
def test_every_way_gives_the_plain_formula_and_its_gradient(full: RolloutSetup, teachers: Any) -> None:
    """Pictures, a video and text; another width and vocabulary; both shifts by hand: one position off is told apart."""
    batch = full.batch(["text", "two_images", "video"], group=2)
    loaded = torch.randn(batch.tokens.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    teacher = teachers.local("default").loaded
    expected = twin(full, teacher, batch, temperature=1.3)
    wanted = gradients(full.model, expected, loaded)
    assert expected[batch.mask].min() > 1e-3
    with torch.no_grad():
        logps = scorer_of(full, "plain")(full.model, batch)
    for mode in WAYS:
        objective = distillation(teachers, temperature=1.3, logps_temperature=0.7)
        found_logps, streams = score_with(objective, scorer_of(full, mode), full.model, batch)
        torch.testing.assert_close(streams["divergence"], expected, **CLOSE, msg=mode)
        torch.testing.assert_close(found_logps, logps, **CLOSE)
        found = gradients(full.model, streams["divergence"], loaded)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, **CLOSE_GRADIENT, msg=f"{mode} {name}")
    for row, owner in enumerate(batch.owners.tolist()):  # the same tokens under the teacher
        ids = torch.tensor(batch.completion(row))
        with torch.no_grad():
            theirs = (whole_logits(teacher, batch.prompts[owner], ids.tolist()) / 0.7).log_softmax(-1)
        own = streams["teacher_logps"][row][batch.mask[row]]
        torch.testing.assert_close(own, theirs.gather(-1, ids[:, None])[:, 0], **CLOSE)
    assert not streams["teacher_logps"].requires_grad


@pytest.mark.parametrize("share_prefix", ["on", "off"])
def test_a_longer_prompt_of_the_teacher_is_aligned_by_completion(
    full: RolloutSetup, teachers: Any, share_prefix: str
) -> None:
    """The teacher is shown a gold answer, of another length for each prompt, before the last tokens of the prompt."""
    batch = full.batch(["text", "image", "text"], group=2)
    shown = [
        Prompt([*prompt.input_ids[:-3], *range(30, 35 + 4 * number), *prompt.input_ids[-3:]], [], prompt.request)
        for number, prompt in enumerate(batch.prompts)
    ]
    objective = distillation(
        teachers, prompts_of=lambda given: shown if given is batch else None, share_prefix=share_prefix
    )
    with torch.no_grad():
        _, streams = score_with(objective, scorer_of(full, "cache"), full.model, batch)
        expected = twin(full, teachers.local("default").loaded, batch, prompts=shown)
        same_prompt = twin(full, teachers.local("default").loaded, batch)
    torch.testing.assert_close(streams["divergence"], expected, **CLOSE)
    assert (expected - same_prompt)[batch.mask].abs().max() > 1e-3
    objective.prompts_of = lambda given: shown[:2]
    with pytest.raises(ValueError, match="got 2 prompts, expected one for each of 3"):
        objective.prepare(batch)


def test_only_the_rows_that_need_it_are_shown_to_the_teacher(
    full: RolloutSetup, teachers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four groups of two: one row of the first, none of the second, both of the last two."""
    batch = full.batch(["text", "image", "text", "image"], group=2)
    gate = torch.tensor([0, 1, 0, 0, 1, 1, 1, 1]).bool()
    seen: list[RolloutBatch] = []
    hidden = GroupScorer.hidden
    monkeypatch.setattr(
        GroupScorer, "hidden", lambda self, model, part: seen.append(part) or hidden(self, model, part)
    )
    with torch.no_grad():
        _, streams = score_with(
            distillation(teachers, rows=lambda batch: gate), scorer_of(full, "cache"), full.model, batch
        )
        everything = score_with(distillation(teachers), scorer_of(full, "cache"), full.model, batch)[1]["divergence"]
    expected = torch.where(gate[:, None], everything, 0.0)
    torch.testing.assert_close(streams["divergence"], expected, **CLOSE)
    assert [len(seen[0].prompts), seen[0].owners.tolist()] == [3, [0, 1, 1, 2, 2]]
    assert seen[0].prompts == [batch.prompts[number] for number in (0, 2, 3)]


def test_where_nothing_is_needed_the_stream_is_zero_and_alive(
    full: RolloutSetup, teachers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "local", None)
    objective = distillation_without_passes(teachers, rows=lambda batch: ~all_rows(batch), logps_temperature=1.0)
    batch = full.batch(["text"], group=2)
    _, streams = score_with(objective, scorer_of(full, "cache"), full.model, batch)
    for stream in streams.values():
        assert stream.shape == batch.tokens.shape
        assert not stream.any()
    found = gradients(full.model, streams["divergence"], torch.ones_like(streams["divergence"]))
    assert found
    assert not any(value.any() for value in found.values())


def distillation_without_passes(teachers: Any, **changes: Any) -> Distillation:
    """One whose teachers cannot be reached: it must not try."""

    class Nobody:
        names = teachers.names
        local = staticmethod(lambda name: Nobody)
        loaded = teachers._opened["default"].loaded
        is_base = True

    return distillation(Nobody, **changes)


def test_a_teacher_left_in_train_mode_has_no_dropout_in_its_targets(full: RolloutSetup, teachers: Any) -> None:
    model = teachers.local("default").loaded.model
    assert model.config.text_config.attention_dropout == 0.5
    batch = full.batch(["image", "text"], group=2)
    targets = []
    for _ in range(2):
        model.train()
        (taught,) = distillation(teachers).prepare(batch)
        targets.append(taught.hidden)
        assert not taught.hidden.requires_grad
    assert not model.training
    assert torch.equal(*targets)


def test_the_base_teaches_an_adapter_and_a_copy_a_full_student(small_world: Path, full: RolloutSetup) -> None:
    """An adapter that says nothing yet is its own base: 0 everywhere, any shift would show. Grown, it is the plain formula.

    One matrix of it stands on the output head, where a head read in chunks must not forget it.
    """
    setup = RolloutSetup(small_world, tuning={**LORA, "lora_target": "q_proj,v_proj,lm_head"})
    setup.model.double()
    objective = distillation(open_teachers(setup, "base"))
    batch = setup.batch(["image", "text"], group=2)
    at_first = score_with(objective, scorer_of(setup, "cache"), setup.model, batch)[1]["divergence"]
    assert at_first.abs().max() < 1e-12
    for name, entry in setup.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(entry, std=0.05)
    setup.model.train()
    alone = RolloutSetup(small_world)
    alone.model.double()
    expected = twin(setup, alone.loaded, batch)
    loaded = torch.randn(batch.tokens.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = gradients(setup.model, expected, loaded)
    assert any("lm_head.lora_A" in name for name in wanted)
    for mode in WAYS:
        streams = score_with(objective, scorer_of(setup, mode), setup.model, batch)[1]
        torch.testing.assert_close(streams["divergence"], expected, **CLOSE)
        for name, value in gradients(setup.model, streams["divergence"], loaded).items():
            torch.testing.assert_close(value, wanted[name], **CLOSE_GRADIENT, msg=f"{mode} {name}")
    assert setup.model.training
    copied = open_teachers(full, "base")
    copied.local("default").loaded.model.double()
    batch = full.batch(["image"], group=2)
    found = score_with(distillation(copied), scorer_of(full, "plain"), full.model, batch)[1]["divergence"]
    assert found.abs().max() < 1e-12


def test_each_row_is_taught_by_its_own_teacher(full: RolloutSetup, wide_path: Path, tmp_path: Path) -> None:
    content = {"route_by": "kind", "teachers": {"image": str(wide_path), "default": "base"}}
    both = open_teachers(full, write_yaml(tmp_path / "teacher.yaml", content))
    for name in both.names:
        both.local(name).loaded.model.double()
    objective = distillation(both)
    kinds = ["image", "text"]
    rollouts = full.rollouts(full.features(kinds), group=2)
    routes = objective.streams(rollouts)[ROUTE]
    assert routes.tolist() == [[0, 0], [1, 1]]
    batch = full.batch(kinds, group=2)
    batch.streams[ROUTE] = routes.flatten()
    with torch.no_grad():
        found = score_with(objective, scorer_of(full, "cache"), full.model, batch)[1]["divergence"]
        first = twin(full, both.local("image").loaded, batch)
    torch.testing.assert_close(found[:2], first[:2], **CLOSE)
    assert found[2:].abs().max() < 1e-12  # a copy of the student itself
    assert distillation(open_teachers(full, "base")).streams(rollouts) == {}


def test_ids_of_the_students_padding_do_not_break_a_teacher(small_world: Path, tmp_path: Path) -> None:
    """The student's vocabulary is padded further: an id of its padding stands for nothing, words of both are compared."""
    for folder in ("images", "clips"):
        (tmp_path / folder).symlink_to(small_world / folder)
    write_teacher(small_world, tmp_path / "tiny", words=1088)
    setup = RolloutSetup(tmp_path)
    teachers = open_teachers(setup, small_world / "tiny")
    batch = setup.batch(["text"], group=2)
    batch.tokens[0, -1] = batch.tokens[1, 0] = 1087
    with torch.no_grad():
        _, streams = score_with(
            distillation(teachers, logps_temperature=1.0), scorer_of(setup, "cache"), setup.model, batch
        )
    assert all(stream.isfinite().all() for stream in streams.values())
    assert (streams["divergence"][batch.mask] > 0).all()


def test_flat_values_stand_where_the_mask_is() -> None:
    mask = torch.tensor([[True, False, False], [True, True, False]])
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    table = spread(values, mask)
    assert table.tolist() == [[1, 0, 0], [2, 3, 0]]
    (table * torch.tensor([[5.0, 1, 1], [6, 7, 1]])).sum().backward()
    assert values.grad.tolist() == [5, 6, 7]


# in the trainer


class TeacherStates(GroupRelative):
    """Rewards that teach nothing, and the divergence as a component."""

    def __init__(self, objective: Distillation, reward: Callable[[list[int]], float] = lambda ids: 0.5) -> None:
        super().__init__(reward)
        self.objective = objective
        self.components.append(
            Component(
                "distill",
                1.0,
                lambda logps, old, ref, batch: batch.token_streams["divergence"],
                "token",
                mask=lambda batch: objective.rows(batch)[:, None],
                metrics=lambda logps, old, ref, batch: {"divergence": batch.token_streams["divergence"]},
            )
        )


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def trained(setup: RolloutSetup, teacher: str | Path, out: Path, **changes: Any) -> tuple[Any, Any]:
    resume = changes.pop("resume_from_checkpoint", None)
    rows = changes.pop("rows", all_rows)
    objective = distillation(open_teachers(setup, teacher), rows=rows)
    trainer = setup.trainer(out, annotator=TeacherStates(objective), **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, trainer.state.log_history


@pytest.mark.train
def test_the_split_into_micro_batches_changes_nothing_and_the_divergence_falls(
    small_world: Path, wide_path: Path, tmp_path: Path
) -> None:
    """The gate closes on about half of the completions, and may close on all of a micro-batch."""
    setup = RolloutSetup(small_world)
    before = deepcopy(setup.model.state_dict())
    shared = {"rows": lambda batch: batch.tokens[:, 0] % 2 == 0, "features": setup.features(["text", "image"] * 2)}
    whole, log = trained(setup, wide_path, tmp_path / "whole", per_device_train_batch_size=4, max_steps=3, **shared)
    setup.model.load_state_dict(before)
    parts = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 1}
    _, other = trained(setup, wide_path, tmp_path / "parts", **parts, **shared)
    for key in ("loss", "loss/distill", "divergence", "grad_norm"):
        assert log[0][key] == pytest.approx(other[0][key], abs=1e-5), key
    assert log[0]["grad_norm"] > 1e-2
    assert log[0]["loss"] == pytest.approx(log[0]["loss/distill"], abs=1e-6)
    assert log[2]["loss/distill"] < log[0]["loss/distill"]
    assert whole.scorer.mode == "cache"


@pytest.mark.train
def test_resumes_between_two_passes_and_checkpoints_hold_no_streams(
    small_world: Path, wide_path: Path, tmp_path: Path
) -> None:
    shared = {
        "max_steps": 4, "save_strategy": "steps", "save_steps": 1, "options": {"num_iterations": 2},
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2,
        "features": RolloutSetup(small_world).features(["text", "image"] * 2),
    }  # fmt: skip
    setups = [RolloutSetup(small_world, tuning=LORA) for _ in range(3)]
    trained(setups[0], wide_path, tmp_path / "whole", **shared)
    trained(setups[1], wide_path, tmp_path / "stopped", callbacks=[StopAt(3)], **shared)
    checkpoint = tmp_path / "stopped" / "checkpoint-3"
    kept = torch.load(checkpoint / "rollouts_0.pt", weights_only=True)
    assert all(not batch["token_streams"] for batch in kept["batches"])
    trained(setups[2], wide_path, tmp_path / "stopped", resume_from_checkpoint=str(checkpoint), **shared)
    for name, tensor in setups[0].model.state_dict().items():
        torch.testing.assert_close(setups[2].model.state_dict()[name], tensor, atol=1e-7, rtol=1e-5, msg=name)


@pytest.mark.train
def test_without_an_objective_nothing_is_another(small_world: Path, tmp_path: Path) -> None:
    """An annotator without one, and one whose objective no component reads: the same weights, bit for bit."""
    ends = []
    for number, annotator in enumerate((GroupRelative(even_share), GroupRelative(even_share))):
        setup = RolloutSetup(small_world, tuning=LORA)
        if number:
            annotator.objective = distillation(open_teachers(setup, "base"), rows=lambda batch: ~all_rows(batch))
        setup.trainer(tmp_path / str(number), annotator=annotator, max_steps=2).train()
        ends.append(setup.model.state_dict())
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_a_head_that_is_not_known_is_refused_before_the_first_step(
    small_world: Path, wide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = RolloutSetup(small_world)
    select_mode = GroupScorer.select_mode

    def unknown(self: GroupScorer, model: Any, batch: Any, *, half: bool) -> None:
        select_mode(self, model, batch, half=half)
        self.chunked = False

    monkeypatch.setattr(GroupScorer, "select_mode", unknown)
    with pytest.raises(ValueError, match="no divergence from a teacher can be computed"):
        trained(setup, wide_path, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="teacher 'default': the output head of Qwen2_5_VL"):
        distillation(open_teachers(setup, wide_path)).prepare(setup.batch(["text"]))
    scorer = scorer_of(setup, "plain")
    scorer.chunked = False
    with pytest.raises(UnsupportedHead, match="cannot be read in chunks"):
        scorer(setup.model, setup.batch(["text"]), also=lambda *parts: None)
