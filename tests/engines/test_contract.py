"""The contract of engines: `make quality` checks the types below, the tests what a caller may count on, the same for all engines."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llamafactory_hind.engines.interface import (
    Capabilities,
    Completion,
    Engine,
    FinishReason,
    Prompt,
    Request,
    RolloutEngine,
    Sampling,
    Score,
)
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.weights import load_weights
from llamafactory_hind.engines.open import AT_MOST, EngineOpener, RolloutEngines, ServerOptions
from llamafactory_hind.engines.usage import Usage
from shared.openai_server import Behaviour, OpenAIServer


if TYPE_CHECKING:
    from torch import nn

    from llamafactory_hind.engines.server.engine import CallStore, OpenAIEngine
    from llamafactory_hind.engines.teachers.interface import Teacher
    from llamafactory_hind.engines.teachers.local import LocalTeacher
    from llamafactory_hind.engines.teachers.server import ServedTeacher
    from llamafactory_hind.pipelines.runner.calls import CallJournal
    from llamafactory_hind.pipelines.runner.engines import SeparateRequests


GREEDY = Sampling(n=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=6, seed=3)
HOT = replace(GREEDY, n=3, temperature=1.0, greedy_first=True)
ENGINES = ("hf", "openai", "stub")


class Stub:
    """The least that keeps both contracts: it writes the number of the weights it was given."""

    def __init__(self, **lacking: bool) -> None:
        self.capabilities = Capabilities(
            **{
                "texts": True,
                "scores": True,
                "images": False,
                "videos": False,
                "token_ids": True,
                "syncs": True,
                **lacking,
            }
        )
        self.usage = Usage()
        self.version = 0

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        prompts = [Prompt([len(str(request.messages))], [], request) for request in requests]
        return self.generate_prompts(prompts, [str(place) for place in range(len(prompts))], sampling)

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        *,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        self.usage.add(completion_tokens=2 * len(prompts) * len(sampling.temperatures))
        one = Completion(f"version {self.version}", (7, self.version), -0.5, FinishReason.STOP)
        return [[one] * len(sampling.temperatures) for _ in prompts]

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        return [Score(-1.0, len(text)) for text in texts]

    def sync(self, model: "nn.Module") -> None:
        self.version += 1

    async def close(self) -> None:
        pass


if TYPE_CHECKING:

    def all_keep_the_contract(
        local: LocalEngine,
        server: OpenAIEngine,
        separate: SeparateRequests,
        stub: Stub,
        local_teacher: LocalTeacher,
        served_teacher: ServedTeacher,
        journal: CallJournal,
    ) -> tuple[list[Engine], list[RolloutEngine], list[Teacher], CallStore]:
        """An error of mypy here names the engine and the member that departs from its contract."""
        return [local, server, separate, stub], [local, stub], [local_teacher, served_teacher], journal


@pytest.fixture(scope="module")
def engines(small_world: Path) -> Iterator[dict[str, Engine]]:
    with OpenAIServer(Behaviour()) as server:
        options = ServerOptions(base_urls=[server.url], max_retries=0, timeout=10.0)
        opened = EngineOpener("hf", settings={"template": "qwen2_vl"}).open(str(small_world / "tiny"), batch_size=2)
        served = EngineOpener("openai", settings={}, server=options).open("test", batch_size=1)
        yield {"hf": opened, "openai": served, "stub": Stub()}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Engine:
    return engines[request.param]


def ask(text: str, **options: Any) -> Request:
    return Request([{"role": "user", "content": text}], **options)


def generate(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
    async def run() -> list[list[Completion]]:
        written = await engine.generate(requests, sampling)
        await engine.close()
        return written

    return asyncio.run(run())


REQUESTS = [ask("Why?"), ask("What does the dax eat, and where?"), ask("Who?")]


def test_every_request_gets_its_completions_in_order(engine: Engine) -> None:
    """n = 3 and the greedy one: 4 each; alone a request gets what it gets among others, also after `close`."""
    together = generate(engine, REQUESTS, HOT)
    assert [len(completions) for completions in together] == [4, 4, 4]
    alone = [generate(engine, [request], HOT)[0] for request in REQUESTS]
    assert [[(each.text, each.token_ids) for each in own] for own in alone] == [
        [(each.text, each.token_ids) for each in own] for own in together
    ]
    logprobs = [[each.logprob for own in written for each in own] for written in (alone, together)]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-3)  # padding changes the last digits
    greedy = generate(engine, REQUESTS, GREEDY)
    assert [completions[0].text for completions in greedy] == [completions[0].text for completions in together]
    assert generate(engine, [], HOT) == []


def test_completions_say_why_they_end_and_what_they_cost(engine: Engine) -> None:
    before = engine.usage.completion_tokens
    written = [completion for completions in generate(engine, REQUESTS, HOT) for completion in completions]
    assert all(type(completion.finish_reason) is FinishReason for completion in written)
    tokens = [len(completion.token_ids) or completion.tokens or 0 for completion in written]
    assert min(tokens) > 0
    assert engine.usage.completion_tokens - before == sum(tokens)
    assert all(bool(completion.token_ids) is engine.capabilities.token_ids for completion in written)


def test_an_engine_scores_or_refuses_as_its_capabilities_say(engine: Engine) -> None:
    if engine.capabilities.scores:
        scores = asyncio.run(engine.score(REQUESTS, ["fish", "fish", "moss"]))
        assert len(scores) == 3
        assert all(score.logprob < 0 < score.tokens for score in scores)
    else:
        with pytest.raises(ValueError, match="score"):
            asyncio.run(engine.score(REQUESTS, ["fish"] * 3))


def test_an_engine_takes_weights_or_refuses_as_its_capabilities_say(engines: dict[str, Engine]) -> None:
    """An engine of a pipeline writes with the base model, whatever is trained beside it."""
    local = engines["hf"]
    assert isinstance(local, LocalEngine)
    model = local.loaded.model
    for name, one in engines.items():
        if one.capabilities.syncs:
            one.sync(model)
        else:
            with pytest.raises(ValueError, match=r"sync|takes weights"):
                one.sync(model)
        assert one.capabilities.syncs is (name == "stub")


@pytest.mark.parametrize("name", AT_MOST)
def test_what_is_said_before_opening_holds_after_it(name: str, engines: dict[str, Engine]) -> None:
    most, found = vars(AT_MOST[name]), vars(engines[name].capabilities)
    assert not [key for key in found if found[key] and not most[key]]
    assert all(found[key] == most[key] for key in ("texts", "scores", "distributions", "token_ids", "concurrent"))


def test_a_model_is_opened_once_and_adapters_are_refused_where_there_are_none(engines: dict[str, Engine]) -> None:
    opener = EngineOpener("openai", settings={}, server=ServerOptions(base_urls=["http://127.0.0.1:9/v1"]))
    assert opener.open("m", batch_size=1) is opener.open("m", batch_size=2)
    with pytest.raises(ValueError, match=r"adapters: got \['a'\]"):
        opener.open("m", adapters=["a"], batch_size=1)


def test_rollouts_are_written_with_the_policy_itself(small_world: Path) -> None:
    """`rollout_engine: hf`: nothing to hand over, but another model is an error and not silently ignored."""
    loaded = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"})
    keys: Any = type("Keys", (), {"rollout_engine": "hf"})
    opened = RolloutEngines.of(keys, loaded)
    engine = opened.open(batch_size=2)
    assert isinstance(engine, LocalEngine)
    assert engine.loaded is loaded
    opened.sync(loaded.model)
    with pytest.raises(ValueError, match="sync: got a Linear"):
        import torch

        opened.sync(torch.nn.Linear(2, 2))
    counts: list[int] = []
    prompts = [engine.encode(request) for request in REQUESTS]
    written = engine.generate_prompts(prompts, ["a", "b", "c"], HOT, on_generated=counts.append)
    alone = engine.generate_prompts(prompts[1:2], ["b"], HOT)
    assert [completion.token_ids for completion in written[1]] == [completion.token_ids for completion in alone[0]]
    assert written[0][0].logprob is None
    assert (sum(counts), len(counts)) == (12, 2)


@pytest.mark.parametrize("lacking", ["token_ids", "syncs"])
def test_an_engine_that_cannot_write_rollouts_is_refused_before_any_work(lacking: str) -> None:
    with pytest.raises(ValueError, match=rf"rollout_engine: got an engine without {lacking}"):
        RolloutEngines(lambda **_: Stub(**{lacking: False})).open(batch_size=1)


def test_all_engines_of_a_policy_get_its_weights_together() -> None:
    import torch

    stubs: list[Stub] = []

    def make(**_: Any) -> Stub:
        stubs.append(Stub())
        return stubs[-1]

    opened = RolloutEngines(make)
    opened.open(batch_size=1)
    opened.open(batch_size=1, gives_logps=True)
    opened.sync(torch.nn.Linear(1, 1))
    assert [stub.version for stub in stubs] == [1, 1]
