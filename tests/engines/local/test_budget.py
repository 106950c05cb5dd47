"""Writing within a budget: the plan by hand, and a real model that writes the same completions in any pieces."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llamafactory_hind.engines.interface import Sampling
from llamafactory_hind.engines.local import budget, writer
from llamafactory_hind.engines.local.budget import Piece, Writing, bytes_a_token
from llamafactory_hind.engines.local.engine import LocalEngine
from shared.rollouts import KINDS, RolloutSetup


HOW = Sampling(n=4, temperature=0.9, top_p=1.0, top_k=0, max_new_tokens=6, seed=3)


def test_tokens_in_flight_by_hand() -> None:
    """Prompts of 10 and 6, two completions of 5 each: 2 x (10 + 2 x 5) = 40; held for every completion 2 x (2 x 10 + 10) = 60."""
    piece = Piece((0, 1), range(2))
    assert Writing([10, 6], 5, repeated=False).tokens(piece) == 40
    assert Writing([10, 6], 5, repeated=True).tokens(piece) == 60


def test_a_piece_is_halved_by_prompts_and_then_by_completions() -> None:
    """40 tokens; one prompt takes 20 or 16; one completion of the first 15."""
    size, piece = Writing([10, 6], 5, repeated=False), Piece((0, 1), range(2))
    assert list(size.fitting(piece, None)) == list(size.fitting(piece, 40)) == [piece]
    assert list(size.fitting(piece, 39)) == [Piece((0,), range(2)), Piece((1,), range(2))]
    assert list(size.fitting(piece, 16)) == [Piece((0,), range(1)), Piece((0,), range(1, 2)), Piece((1,), range(2))]
    assert len(list(size.fitting(piece, 1))) == 4, "one completion is written whatever it takes"
    assert Piece((0,), range(1)).halves() == [Piece((0,), range(1))]


def test_bytes_of_a_token_by_hand() -> None:
    """Qwen2.5-VL-7B: 2 x 28 layers x 4 heads x 128 x 2 bytes = 56 KiB, as the review of memory has it."""
    sizes = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
    model = SimpleNamespace(config=SimpleNamespace(**sizes))
    assert bytes_a_token(model, 2) == 56 * 1024
    assert bytes_a_token(SimpleNamespace(config=SimpleNamespace()), 2) is None


def test_a_cpu_has_no_limit_of_its_own() -> None:
    assert budget.affordable_tokens(torch.nn.Linear(2, 2)) is None


@pytest.fixture(scope="module")
def setup(small_world: Path) -> RolloutSetup:
    return RolloutSetup(small_world)


def written(setup: RolloutSetup, engine: LocalEngine, how: Sampling = HOW) -> list[list[tuple[int, ...]]]:
    from llamafactory_hind.trainers.rollouts.batch import prompt_of

    prompts = [prompt_of(feature) for feature in setup.features(KINDS)]
    found = engine.generate_prompts(prompts, [str(number) for number in range(len(prompts))], how)
    return [[completion.token_ids for completion in group] for group in found]


def engine_of(setup: RolloutSetup, **options: int) -> LocalEngine:
    return LocalEngine(setup.loaded, batch_size=16, adapters=None, **options)


@pytest.fixture(scope="module")
def expected(setup: RolloutSetup) -> list[list[tuple[int, ...]]]:
    return written(setup, engine_of(setup))


class Device:
    """Stands at `budget.before_writing` as a full GPU: raises where more tokens are in flight than it has room for."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def __call__(self, tokens: int) -> None:
        self.asked.append(tokens)
        if tokens > self.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to hold {tokens} tokens.")


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 150])
def test_a_budget_changes_no_completion(
    setup: RolloutSetup, expected: list, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(10**9)
    monkeypatch.setattr(budget, "before_writing", device)
    one = engine_of(setup, tokens=tokens)
    assert written(setup, one) == expected
    if tokens == 1:
        assert len(device.asked) == HOW.n * len(KINDS), "one completion at a time"
    else:
        assert len(device.asked) > 1
    assert one.usage.completion_tokens == sum(len(ids) for group in expected for ids in group)


@pytest.mark.slow
def test_memory_that_runs_out_halves_once_and_changes_no_completion(
    setup: RolloutSetup, expected: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Device(10**9)
    monkeypatch.setattr(budget, "before_writing", whole)
    written(setup, engine_of(setup))
    said: list[str] = []
    monkeypatch.setattr(writer.logger, "warning_rank0", said.append, raising=False)
    device = Device(whole.asked[0] - 1)
    monkeypatch.setattr(budget, "before_writing", device)
    one = engine_of(setup)
    assert written(setup, one) == expected
    assert len([line for line in said if "rollout_tokens" in line]) == 1
    first = len(device.asked)
    assert written(setup, one) == expected
    assert max(device.asked[first:]) <= device.room, "the engine remembers"


@pytest.mark.slow
def test_memory_that_runs_out_again_stops_with_what_to_change(
    setup: RolloutSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(10)
    monkeypatch.setattr(budget, "before_writing", device)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        written(setup, engine_of(setup))
    assert len(device.asked) == 2, "one halving"
    assert "Set `rollout_tokens` lower" in raised.value.__notes__[0]


@pytest.mark.slow
def test_prompts_that_are_prefilled_apart_write_the_same(
    setup: RolloutSetup, expected: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt in a pass of its own: their caches are padded and joined, and the proof holds."""
    monkeypatch.setattr(writer, "PREFILL_TOKENS", 1)
    one = engine_of(setup)
    assert written(setup, one) == expected
    assert one.writer.cascade and one.writer.proof.kinds and not one.writer.proof.failed
