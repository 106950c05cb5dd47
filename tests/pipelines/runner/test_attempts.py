"""Write, judge, write again: an engine that answers by a script, and what it was asked."""

import asyncio
from collections.abc import Sequence

from llamafactory_hind.engines.interface import Completion, Request, Sampling
from llamafactory_hind.pipelines.runner.attempts import write_until
from llamafactory_hind.pipelines.runner.rows import Row


class Scripted:
    """Answers a row's key with the next of its texts."""

    def __init__(self, texts: dict[str, list[str]]) -> None:
        self.texts = {key: iter(texts) for key, texts in texts.items()}
        self.calls: list[tuple[list[str], int]] = []

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        self.calls.append(([request.key for request in requests], sampling.seed))
        return [[Completion(next(self.texts[request.key]), (), None, "stop")] for request in requests]


def write(texts: dict[str, list[str]], max_attempts: int) -> tuple[list[list[str]], list[tuple[list[str], int]]]:
    engine = Scripted(texts)
    written = asyncio.run(
        write_until(
            engine,
            [Row(key, "f", 1, {}, {}) for key in texts],
            request=lambda row: Request([{"role": "user", "content": "?"}], key=row.id),
            sampling=lambda attempt: Sampling(1, 1.0, 1.0, 0, 8, 42 + attempt),
            accepted=lambda row, attempt: attempt["text"] == "good",
            max_attempts=max_attempts,
        )
    )
    assert all(attempt["finish_reason"] == "stop" for attempts in written for attempt in attempts)
    return [[attempt["text"] for attempt in attempts] for attempts in written], engine.calls


def test_only_rows_that_wait_are_asked_again_together_and_with_a_seed_of_their_own() -> None:
    texts = {
        "a": ["bad", " good\n"],
        "b": ["good"],
        "c": ["bad", "worse", "good"],
        "d": ["bad", "bad", "last", "good"],
    }
    written, calls = write(texts, 3)
    assert written == [["bad", "good"], ["good"], ["bad", "worse", "good"], ["bad", "bad", "last"]]
    assert calls == [(["a", "b", "c", "d"], 42), (["a", "c", "d"], 43), (["c", "d"], 44)]


def test_nothing_is_asked_where_nothing_waits() -> None:
    assert write({}, 3) == ([], [])
    assert write({"a": ["good", "good"]}, 3) == ([["good"]], [(["a"], 42)])
