"""`engines.server.engine` when things go wrong: what is tried again, what is not, and that the key is never shown."""

import asyncio
import io
import json
import logging
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from llamafactory_hind.engines.server import endpoints, retrying
from llamafactory_hind.engines.server.api_key import ApiKey
from llamafactory_hind.engines.server.endpoints import Endpoints
from llamafactory_hind.engines.server.protocol import refused_parameters
from llamafactory_hind.engines.server.retrying import CallFailed, backoff, read_retry_after
from shared.openai_server import FAULTS, Behaviour, OpenAIServer
from shared.served import GREEDY, HOT, ask, generate, make_engine, texts


KEY = "sk-p9Xv/3+aQ_7mR2tLw8Zc5Nd1"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_WAIT", 0.1)


@pytest.fixture
def dead_url() -> str:
    """An address at which nobody listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything logged, down to debugging, by whomever."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    loggers = [logging.getLogger(), logging.getLogger("llamafactory.hind.engines.server.engine")]
    levels = [one.level for one in loggers]
    monkeypatch.setattr(loggers[1], "propagate", False)  # the host's own logger may, or may not, hand on what it gets
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.DEBUG)
    yield out
    for one, level in zip(loggers, levels, strict=True):
        one.removeHandler(handler)
        one.setLevel(level)


def script(server: OpenAIServer, *answers: tuple[int, dict[str, str], object]) -> None:
    """Give these answers first, then good ones."""

    def play(number: int, body: object) -> tuple[int, dict[str, str], str] | None:
        if number >= len(answers):
            return None
        status, headers, content = answers[number]
        return status, headers, content if isinstance(content, str) else json.dumps(content)

    server.behaviour.script = play


def fail(server: OpenAIServer, **options: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        generate(make_engine(server, **options), [ask("Why?")])
    return caught.value


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_passes(server: OpenAIServer, quick: None, kind: str) -> None:
    """40 rows, a third of the calls go wrong: texts and order are those of a server without faults."""
    requests = [ask(f"Question {number}?") for number in range(40)]
    expected = texts(generate(make_engine(server), requests))
    with OpenAIServer(Behaviour(faults=0.33, kinds=[kind], seed=3, retry_after=0.01)) as faulty:
        # long enough for a good answer on a busy machine
        engine = make_engine(faulty, concurrency=40, timeout=2.0 if kind == "hang" else 60.0, max_retries=20)
        assert texts(generate(engine, requests)) == expected
        stats = faulty.stats()
    assert stats["faults"].keys() == {kind}
    assert stats["calls"] == engine.usage.calls == 40 + stats["faults"][kind]
    assert engine.usage.retries == stats["faults"][kind] > 0
    assert (stats["successes"], stats["duplicates"], engine.usage.failures) == (40, 0, 0)


def test_faults_repeat_with_their_seed() -> None:
    behaviour = Behaviour(faults=0.3, seed=5)
    found = [behaviour.fault(number) for number in range(2000)]
    assert found == [Behaviour(faults=0.3, seed=5).fault(number) for number in range(2000)]
    assert found != [Behaviour(faults=0.3, seed=6).fault(number) for number in range(2000)]
    assert 0.25 < sum(kind is not None for kind in found) / 2000 < 0.35
    assert set(found) == {None, *FAULTS}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(server: OpenAIServer, quick: None, status: int) -> None:
    script(server, (status, {}, {"error": {"message": "Later."}}), (status, {}, "<html>Later.</html>"))
    engine = make_engine(server)
    assert texts(generate(engine, [ask("Why?")]))[0][0].startswith("answer ")
    assert (engine.usage.calls, engine.usage.retries, engine.usage.failures) == (3, 2, 0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422])
def test_what_stays_fails_at_once_with_the_servers_words(server: OpenAIServer, status: int) -> None:
    script(server, *[(status, {}, {"error": {"message": "That will never work. " * 100}})] * 9)
    error = fail(server)
    assert (error.status, error.attempts, server.calls) == (status, 1, 1)
    assert f"the server answered {status}: That will never work." in str(error)
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"error": {"message": "No such model."}}, "No such model."),
        ({"error": "No such model."}, "No such model."),
        ({"detail": "Invalid role"}, "Invalid role"),
        ({"object": "error", "message": "Too\nlong."}, "Too long."),
        (
            {"detail": [{"loc": ["body", "messages"], "msg": "missing"}]},
            '[{"loc": ["body", "messages"], "msg": "missing"}]',
        ),
        ("<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        ("", "(no text)"),
    ],
)
def test_words_are_found_wherever_a_server_puts_them(server: OpenAIServer, content: object, shown: str) -> None:
    script(server, (403, {}, content))
    assert f"403: {shown} (given up after 1 attempt)" in str(fail(server))


def test_a_wrong_path_and_a_redirect_say_what_to_do(server: OpenAIServer) -> None:
    error = fail(server, base_urls=[server.url + "/wrong?code=7"])
    assert error.status == 404
    assert "/v1/wrong/chat/completions: most base_urls end in /v1" in str(error)
    assert "code=7" not in str(error)
    script(server, (307, {"Location": "http://127.0.0.1:1/v1/chat/completions?code=7"}, ""))
    assert "redirected to http://127.0.0.1:1/v1/chat/completions; give that address" in str(fail(server))
    assert server.calls == 1, "nothing, and no key, is sent to another address"


def test_a_call_is_given_up_after_its_retries(server: OpenAIServer, quick: None) -> None:
    script(server, *[(500, {}, {"error": {"message": "Broken."}})] * 99)
    engine = make_engine(server, max_retries=4)
    with pytest.raises(CallFailed) as caught:
        generate(engine, [ask("Why?")])
    assert (caught.value.status, caught.value.attempts, server.calls) == (500, 5, 5)
    assert caught.value.reason == "the server answered 500: Broken."
    assert str(caught.value) == "the server answered 500: Broken. (given up after 5 attempts)"
    assert (engine.usage.calls, engine.usage.retries, engine.usage.failures) == (5, 4, 1)
    assert "5 calls (4 retries, 1 given up)" in engine.usage.report()


def test_one_failure_ends_the_others_and_leaves_nothing_running(server: OpenAIServer) -> None:
    server.behaviour.script = lambda number, body: (400, {}, "no") if "bad" in str(body["messages"]) else None
    server.behaviour.latency = 0.05
    engine = make_engine(server, concurrency=2)

    async def run() -> set[asyncio.Task[Any]]:
        with pytest.raises(CallFailed):
            await engine.generate([ask("bad?"), *(ask(f"Question {number}?") for number in range(50))], HOT)
        await engine.close()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(run()) == set()
    assert server.calls < 10


@pytest.mark.parametrize(
    ("change", "reason", "attempts"),
    [
        ({"finish_reason": "content_filter"}, "finish_reason 'content_filter', expected stop or length", 1),
        ({"message": {"content": None, "refusal": "I will not."}}, "the model refused: I will not.", 1),
        ({"message": {"content": None}}, "has NoneType where its text is expected", 3),
        ({"message": {"content": ["a"]}}, "has list where its text is expected", 3),
        ({"message": None}, "a choice without a message", 3),
        ({"message": {"content": " \n"}}, "wrote an empty text (finish_reason stop)", 3),
        (
            {"message": {"content": None}, "finish_reason": "length"},
            "empty text (finish_reason length); raise max_new_tokens",
            3,
        ),
    ],
)
def test_answers_without_a_text_fail_with_their_reason(
    server: OpenAIServer, quick: None, change: dict[str, Any], reason: str, attempts: int
) -> None:
    full = server.behaviour.completion

    def spoiled(body: dict[str, Any]) -> dict[str, Any]:
        reply = full(body)
        reply["choices"][0] |= change
        return reply

    server.behaviour.completion = spoiled
    error = fail(server, max_retries=2)
    assert reason in str(error)
    assert (error.status, error.attempts) == (None, attempts)


@pytest.mark.parametrize(
    "raw", ["", "[]", "null", "{}", '{"choices": 7}', '{"error": {"message": "Busy."}}', "[" * 99999]
)
def test_nonsense_is_tried_again_and_named(server: OpenAIServer, quick: None, raw: str) -> None:
    script(server, (200, {}, raw), (200, {}, raw))
    engine = make_engine(server)
    assert generate(engine, [ask("Why?")])[0][0].text
    assert engine.usage.retries == 2
    script(server, *[(200, {}, raw)] * 99)
    assert "the answer " in str(fail(server))


def test_how_a_text_ended_is_kept(server: OpenAIServer) -> None:
    full = server.behaviour.completion
    for told, kept in (("length", "length"), ("stop", "stop"), ("eos_token", "stop"), (None, "stop")):
        server.behaviour.completion = lambda body, told=told: {
            **full(body),
            "choices": [{**full(body)["choices"][0], "finish_reason": told}],
        }
        assert generate(make_engine(server), [ask("Why?")])[0][0].finish_reason == kept


def test_an_empty_sample_is_drawn_again_with_another_seed(server: OpenAIServer, quick: None) -> None:
    """A server that repeats itself for a seed would write the empty text for ever."""
    empty: set[int] = set()

    def text(body: dict[str, Any], number: int) -> str:
        if len(empty) < 2 or body["seed"] in empty:
            empty.add(body["seed"])
            return ""
        return "fish"

    server.behaviour.answer = text
    engine = make_engine(server)
    assert texts(generate(engine, [ask("Why?")], replace(HOT, n=1))) == [["fish"]]
    assert (engine.usage.retries, len(empty)) == (2, 2)


def test_good_choices_are_kept_when_one_is_empty(server: OpenAIServer) -> None:
    server.behaviour.answer = lambda body, number: "" if number == 1 else f"text {number} of {body.get('n', 1)}"
    engine = make_engine(server)
    written = texts(generate(engine, [ask("Why?")], HOT))
    assert written == [["text 0 of 3", "text 2 of 3", "text 0 of 1"]]
    assert engine.usage.retries == 0


@pytest.mark.parametrize(
    "names", [["logprobs"], ["top_k"], ["seed"], ["n"], ["logprobs", "top_k", "seed", "n"], ["max_tokens"]]
)
def test_a_refused_parameter_is_left_out_with_one_warning_each(
    server: OpenAIServer, log: io.StringIO, names: list[str]
) -> None:
    if names == ["max_tokens"]:
        words = "Unsupported parameter: 'max_tokens' is not supported, use 'max_completion_tokens' instead."
        server.behaviour.script = lambda number, body: (400, {}, words) if "max_tokens" in body else None
    server.behaviour.refused = names if names != ["max_tokens"] else ()
    engine = make_engine(server, concurrency=8)
    written = generate(engine, [ask(f"Question {number}?") for number in range(20)], replace(HOT, top_k=5))
    assert [len(completions) for completions in written] == [3] * 20
    last = server.bodies[-1]
    assert not set(names) & set(last)
    assert last.get("max_completion_tokens" if names == ["max_tokens"] else "max_tokens") == 10
    for name in names:
        assert log.getvalue().count(f"Left out from now on: {name}.") == 1
    assert (engine.usage.retries, engine.usage.failures) == (0, 0), "that is no failure, and needs no retry"


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ({"error": {"message": "Unrecognized request argument supplied: top_k"}}, ["top_k"]),
        ({"error": {"message": "Unsupported value.", "param": "seed"}}, ["seed"]),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]}, ["top_k"]),
        ({"error": {"message": "This model does not support logprobs and n > 1"}}, ["logprobs", "n"]),
        ({"error": {"message": "Unknown parameter in the body."}}, ["logprobs", "top_k", "seed", "n"]),
        ({"error": {"message": "The model `unknown` does not exist."}}, []),
        ({"error": {"message": "Unknown model."}}, []),
        ({"error": {"message": "Input image can't be read.\nIt isn't one."}}, []),
        ({"detail": [{"loc": ["body", "messages"], "msg": "missing", "input": {"top_k": 5, "n": 2, "seed": 1}}]}, []),
        ({"error": {"message": "use max_completion_tokens"}}, ["max_tokens"]),
        ("logprobs are off", ["logprobs"]),
        ([], []),
    ],
)
def test_complaints_about_parameters_are_told_from_others(complaint: object, expected: list[str]) -> None:
    sent = {"logprobs": True, "top_k": 5, "seed": 1, "n": 2, "max_tokens": 9, "messages": []}
    raw = complaint if isinstance(complaint, str) else json.dumps(complaint)
    assert refused_parameters(raw.encode(), sent) == expected


def test_a_server_that_refuses_for_ever_is_given_up(server: OpenAIServer) -> None:
    server.behaviour.script = lambda number, body: (400, {}, "logprobs, seed: I will not.")
    assert fail(server).status == 400
    assert server.calls == 2


@pytest.mark.parametrize("header", ["300", "date"])
def test_retry_after_is_honoured(
    server: OpenAIServer, quick: None, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = formatdate(time.time() + 300, usegmt=True) if header == "date" else header
    script(server, (429, {"Retry-After": told}, "{}"))
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", wait)
    assert generate(make_engine(server), [ask("Why?")])[0][0].text
    # up to a tenth is added, and less is left of a date as time goes by
    (waited,) = waits
    assert (200 if header == "date" else 300) <= waited <= 330


def test_a_server_that_asks_for_an_hour_is_given_up(server: OpenAIServer) -> None:
    script(server, (429, {"Retry-After": "3600"}, {"error": {"message": "Quota used up."}}))
    error = fail(server)
    assert "Quota used up.; it asks to wait 3600 s" in str(error)
    assert (error.status, error.attempts) == (429, 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("nan", None)],
)
def test_retry_after_by_hand(text: str, seconds: float | None) -> None:
    assert read_retry_after(text) == seconds
    assert 3590 < read_retry_after(formatdate(time.time() + 3600, usegmt=True)) <= 3600


def test_waits_double_up_to_a_limit_and_differ() -> None:
    for attempt, full in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)):
        waits = {backoff(attempt, None) for _ in range(50)}
        assert full / 2 <= min(waits) < max(waits) <= full
    assert all(4.0 <= backoff(9, 4.0) <= 4.4 for _ in range(50))
    assert backoff(9, 0.0) == 0.0


def test_a_call_that_waits_leaves_its_place_to_others(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first waits until the second has ended, which would never be if it kept its place."""
    script(server, (429, {"Retry-After": "1"}, "{}"))
    engine = make_engine(server, concurrency=1)
    ended: list[str] = []

    async def row(text: str, then: Callable[[], object] = list) -> None:
        await engine.generate([ask(text)], GREEDY)
        ended.append(text)
        then()

    async def run() -> None:
        other = asyncio.Event()

        async def wait(_: float) -> None:
            await asyncio.wait_for(other.wait(), 60)

        monkeypatch.setattr(asyncio, "sleep", wait)
        await asyncio.gather(row("first"), row("second", then=other.set))
        await engine.close()

    asyncio.run(run())
    assert ended == ["second", "first"]


def test_several_servers_take_turns() -> None:
    with OpenAIServer() as one, OpenAIServer() as two:
        generate(make_engine(one, two), [ask(f"Question {number}?") for number in range(20)])
        assert (one.calls, two.calls) == (10, 10)


def test_a_dead_server_is_rested_and_the_other_takes_over(server: OpenAIServer, quick: None, dead_url: str) -> None:
    engine = make_engine(base_urls=[dead_url, server.url], concurrency=4)
    generate(engine, [ask(f"Question {number}?") for number in range(100)])
    assert server.calls == 100
    assert endpoints.FAILURES_TO_REST <= engine.usage.retries < endpoints.FAILURES_TO_REST + 4


def test_when_all_are_dead_the_call_fails_after_its_retries(quick: None, dead_url: str) -> None:
    with pytest.raises(CallFailed) as caught:
        generate(make_engine(base_urls=[dead_url, dead_url], max_retries=12), [ask("Why?")])
    assert (caught.value.status, caught.value.attempts) == (None, 13)
    assert f"the connection to {dead_url}/chat/completions failed" in str(caught.value)


def test_another_server_is_asked_while_one_is_busy(server: OpenAIServer, quick: None) -> None:
    with OpenAIServer() as busy:
        busy.behaviour.script = lambda number, body: (429, {"Retry-After": "60"}, "{}")
        start = time.time()
        generate(make_engine(busy, server), [ask(f"Question {number}?") for number in range(10)])
        assert time.time() - start < 50, "it did not wait for the busy one, which asks for a minute"
    assert server.calls == 10


def test_rest_and_waking_by_hand() -> None:
    """Five failures in a row rest a server for ten seconds; then one call tries it, and its success wakes it."""
    now = 0.0
    both = Endpoints(["http://a/v1", "http://b/v1"], clock=lambda: now)
    first, second = both.all
    assert [both.pick() for _ in range(4)] == [first, second, first, second]
    for _ in range(4):
        both.failed(first)
    both.worked(first)
    for _ in range(5):
        assert first in (both.pick(), both.pick())
        both.failed(first)
    assert {both.pick() for _ in range(4)} == {second}
    assert both.any_available()
    now = 10.0
    assert [both.pick() for _ in range(4)].count(first) == 1, "one call tries it"
    both.worked(first)
    assert [both.pick() for _ in range(4)].count(first) == 2
    both.cool_down(first, 5.0)
    both.cool_down(second, 3.0)
    assert not both.any_available()
    assert both.pick() is second, "when all rest, the one that wakes first is asked"


def test_a_timeout_is_named(server: OpenAIServer) -> None:
    server.behaviour = Behaviour(faults=1.0, kinds=["hang"])
    error = fail(server, timeout=0.2, max_retries=0)
    assert f"no answer from {server.url}/chat/completions within the timeout of 0.2 s" in str(error)


# --- the key ---


def everything_shown(error: BaseException) -> str:
    """Return message, repr and the traceback with all local variables, of the error and all that led to it."""
    shown, chain = "", [error]
    for one in chain:
        trace = traceback.TracebackException.from_exception(one, capture_locals=True)
        shown += "".join(trace.format()) + repr(one) + str(one) + repr(vars(one))
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
    return shown


def secrets(key: str) -> list[str]:
    return [key, quote(key, safe=""), json.dumps(key)[1:-1].replace("/", "\\/")]


@pytest.mark.parametrize("key", [KEY, "short/key"])
def test_the_key_is_sent_and_shown_nowhere(
    server: OpenAIServer,
    quick: None,
    dead_url: str,
    log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    key: str,
) -> None:
    monkeypatch.setenv("TEST_API_KEY", f" {key}\n")
    engine = make_engine(server, api_key_env="TEST_API_KEY")
    server.behaviour.api_key = key
    assert generate(engine, [ask("Why?")])[0][0].text
    assert server.headers[-1]["Authorization"] == f"Bearer {key}"
    assert key not in json.dumps(list(server.bodies))

    echo = f"You said Bearer {key}, that is {quote(key, safe='')}. " + "x" * 250 + key
    padded = "y" * (retrying.SHOWN_CHARACTERS - len(key) * 3 // 4) + key  # cut in the middle of the key
    shown = [repr(engine), repr(vars(engine)), str(engine._key), repr(vars(engine._connection))]
    for status, content in [
        (401, {"error": {"message": echo}}),
        (401, json.dumps({"error": {"message": echo}}).replace("/", "\\/")),
        (400, {"error": {"message": f"logprobs: {padded}"}}),
        (400, padded),
        (500, {"detail": [{"input": {"Authorization": key}}]}),
        (307, ""),
        (200, {"error": padded}),
        (200, {"choices": [{"message": {"content": None, "refusal": padded}}]}),
        (200, {"choices": [{"message": {"content": "a"}, "finish_reason": key}]}),
    ]:
        script(server, *[(status, {"Location": f"http://127.0.0.1/{key}"}, content)] * 99)
        shown.append(everything_shown(fail(server, api_key_env="TEST_API_KEY", max_retries=1)))
    server.behaviour = Behaviour(faults=1.0, kinds=["hang", "reset", "cut"])
    for _ in range(6):
        shown.append(everything_shown(fail(server, api_key_env="TEST_API_KEY", max_retries=0, timeout=0.1)))
    shown.append(everything_shown(fail(server, base_urls=[dead_url], api_key_env="TEST_API_KEY", max_retries=1)))
    shown += [log.getvalue(), *capfd.readouterr()]
    hidden = [*secrets(key), *([key[: len(key) // 2]] if key == KEY else [])]
    for text in shown:
        assert not [secret for secret in hidden if secret in text], text
    assert "logprobs" in log.getvalue(), "what is searched must not be empty"
    assert "[api key]" in "".join(shown)


def test_a_text_that_repeats_a_long_key_is_kept_without_it(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key such as EMPTY, which local servers take, may be a word of the text."""
    for key, kept in ((KEY, "so [api key] it is"), ("EMPTY", "so EMPTY it is")):
        monkeypatch.setenv("TEST_API_KEY", key)
        server.behaviour.answer = lambda body, number, key=key: f"so {key} it is"
        assert texts(generate(make_engine(server, api_key_env="TEST_API_KEY"), [ask("Why?")])) == [[kept]]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TEST_API_KEY", None, "the environment variable TEST_API_KEY is not set or empty"),
        ("TEST_API_KEY", " \n", "the environment variable TEST_API_KEY is not set or empty"),
        ("TEST_API_KEY", "two words", "the value of TEST_API_KEY (not shown) has spaces"),
        ("TEST_API_KEY", "a\r\nX-Evil: b", "the value of TEST_API_KEY (not shown) has spaces, line breaks"),
        ("TEST_API_KEY", "schlüssel", "the value of TEST_API_KEY (not shown) has spaces"),
        (KEY, None, "expected the NAME of an environment variable"),
        ("hf_AbCdEfGhIjKlMnOp", None, "expected the NAME of an environment variable"),
        ("", None, "expected the NAME of an environment variable"),
    ],
)
def test_a_missing_key_is_an_error_before_any_call(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    if value is not None:
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as caught:
        make_engine(base_urls=["http://localhost/v1"], api_key_env=name)
    assert str(caught.value).startswith("api_key_env: ")
    assert message in str(caught.value)
    hidden = value if value and value.strip() else name if name != "TEST_API_KEY" else None
    assert not hidden or hidden not in str(caught.value) + repr(caught.value)


def test_a_key_is_not_pickled_nor_copied_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setenv("TEST_API_KEY", KEY)
    with open(tmp_path / "engine.pkl", "wb") as file, pytest.raises(TypeError):
        pickle.dump(make_engine(base_urls=["http://localhost/v1"], api_key_env="TEST_API_KEY"), file)
    assert KEY.encode() not in (tmp_path / "engine.pkl").read_bytes()
    assert repr(ApiKey("TEST_API_KEY")) == "ApiKey('TEST_API_KEY')"


@pytest.mark.parametrize("secret", ["user:password@", "user@"])
def test_addresses_with_passwords_are_refused_unseen(secret: str) -> None:
    with pytest.raises(ValueError, match=r"of example\.org with a user name or password") as caught:
        make_engine(base_urls=[f"https://{secret}example.org/v1"])
    assert "user:" not in str(caught.value)
    assert "user@" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [f"http://u:{KEY}/+=@localhost/v1", f"http://localhost:{KEY}/v1", f"u:{KEY}@localhost/v1", KEY, f"{KEY}@h"],
)
def test_addresses_that_cannot_be_read_are_not_shown(address: str) -> None:
    """Whatever part of one a key was written into."""
    with pytest.raises(ValueError, match=r"not shown") as caught:
        make_engine(base_urls=[address])
    assert KEY not in str(caught.value)


def test_addresses_of_another_kind_are_shown() -> None:
    for address in ("ftp://example.org/v1", "example.org:8000/v1", "localhost"):
        with pytest.raises(ValueError, match=re.escape(f"got '{address}'")):
            make_engine(base_urls=[address])


def test_a_proxy_of_the_environment_is_used_but_not_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3129")
    urls = [
        "https://example.org/v1",
        "http://example.org/v1",
        "http://localhost:1/v1",
        "http://127.0.0.2/v1",
        "http://[::1]/v1",
    ]
    found = [endpoint.proxy for endpoint in Endpoints(urls).all]
    assert found == ["http://proxy:3128", "http://proxy:3129", None, None, None]
    monkeypatch.setenv("no_proxy", "example.org")
    assert Endpoints(urls[:1]).all[0].proxy is None
