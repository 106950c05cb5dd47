"""`engines.server.engine` against real HTTP servers: what is sent, what comes back, and the answers of the model itself."""

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llamafactory_hind.engines.interface import Completion, Request, Sampling
from llamafactory_hind.engines.server.retrying import CallFailed
from llamafactory_hind.formats.media.frames import read_frames
from shared.openai_server import OpenAIServer, answer, logprobs_of
from shared.served import GREEDY, HOT, ask, generate, make_engine, texts


STOP_SECONDS = 30


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def test_neither_torch_nor_the_host_is_imported(run_python: Callable[..., Any]) -> None:
    code = (
        "import sys, llamafactory_hind.engines.server.engine\n"
        "print([name for name in ('torch', 'llamafactory', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = run_python("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_body_is_exactly_this(server: OpenAIServer) -> None:
    turns = [
        {"role": "user", "content": "What does the wug eat?"},
        {"role": "assistant", "content": "fish"},
        {"role": "user", "content": "And the dax?"},
    ]
    engine = make_engine(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    generate(engine, [Request(turns, system="You know creatures.")], replace(HOT, n=1))
    (body,) = server.bodies
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": "test",
        "messages": [{"role": "system", "content": "You know creatures."}, *turns],
        "max_tokens": 10,
        "temperature": 1.0,
        "top_p": 0.9,
        "logprobs": True,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    generate(engine, [ask("Why?")], replace(HOT, top_k=20))
    assert (server.bodies[-1]["top_k"], server.bodies[-1]["n"]) == (20, 3)


def test_order_is_kept_and_calls_are_bounded_over_the_whole_engine(server: OpenAIServer) -> None:
    server.behaviour.latency = 0.01
    requests = [ask(f"Question {number}?") for number in range(60)]
    engine = make_engine(server, concurrency=7)

    async def run() -> list[list[list[Completion]]]:
        found = await asyncio.gather(*(engine.generate(requests[start::2], GREEDY) for start in (0, 1)))
        await engine.close()
        return found

    even, odd = asyncio.run(run())
    expected = [answer({"messages": [dict(turn) for turn in request.messages]}, 0) for request in requests]
    assert texts(even) == [[text] for text in expected[::2]]
    assert texts(odd) == [[text] for text in expected[1::2]]
    assert server.most_at_once == 7
    assert server.stats()["duplicates"] == 0


def test_an_engine_lives_through_several_event_loops(server: OpenAIServer) -> None:
    engine = make_engine(server, concurrency=2)
    requests = [ask(f"Question {number}?") for number in range(8)]
    found = [texts(asyncio.run(engine.generate(requests, GREEDY))) for _ in range(2)]
    assert found[0] == found[1]


@pytest.mark.parametrize(("most", "calls"), [(None, 1), (2, 4), (1, 5)])
def test_samples_come_from_as_many_calls_as_it_takes(server: OpenAIServer, most: int | None, calls: int) -> None:
    """Five samples: 5; 2 and 3 times 1; 1 and 4 times 1, and then no call asks for several again."""
    server.behaviour.most_choices = most
    engine = make_engine(server)
    (written,) = generate(engine, [ask("Why?")], replace(HOT, n=5))
    assert len(written) == 5
    assert len(set(texts([written])[0])) == 5
    assert len(server.bodies) == calls == engine.usage.calls
    assert engine.usage.retries == 0
    generate(engine, [ask("Why not?")], replace(HOT, n=5))
    assert sum("n" in body for body in server.bodies) == (1 if most == 1 else 2)


def test_a_server_that_gives_too_many_choices_is_cut(server: OpenAIServer) -> None:
    server.behaviour.answer = lambda body, number: f"text {number}"
    full = server.behaviour.completion
    server.behaviour.completion = lambda body: full({**body, "n": 4})
    assert texts(generate(make_engine(server), [ask("Why?")], replace(HOT, n=2))) == [["text 0", "text 1"]]


def test_the_greedy_one_comes_first_from_a_call_of_its_own(server: OpenAIServer) -> None:
    (written,) = generate(make_engine(server), [ask("Why?")], replace(HOT, n=2, greedy_first=True))
    assert sorted((body["temperature"], body.get("n", 1)) for body in server.bodies) == [(0.0, 1), (1.0, 2)]
    (greedy,) = generate(make_engine(server), [ask("Why?")])
    assert len(written) == 3
    assert written[0].text == greedy[0].text not in {written[1].text, written[2].text}


def test_greedy_samples_are_one_call(server: OpenAIServer) -> None:
    """Asked for several greedy texts, one server refuses and another turns the temperature up."""
    (written,) = generate(make_engine(server), [ask("Why?")], replace(GREEDY, n=3, greedy_first=True))
    assert len(written) == 4
    assert len({completion.text for completion in written}) == 1
    assert len(server.bodies) == 1
    assert "n" not in server.bodies[0]


def test_seeds_follow_from_seed_key_and_number(server: OpenAIServer) -> None:
    server.behaviour.most_choices = 1

    def seeds(requests: Sequence[Request], sampling: Sampling = HOT) -> set[int]:
        server.bodies.clear()
        generate(make_engine(server, concurrency=1), requests, sampling)
        return {body["seed"] for body in server.bodies}

    once, twice = seeds([ask("Why?")]), seeds([ask("Why?"), ask("Why?")])
    assert len(once) == 3, "each sample has its own"
    assert len(twice) == 6, "equal rows are two draws"
    assert once == seeds([ask("Why?")]) == twice & once, "and a row draws the same in any company"
    assert not once & seeds([ask("Why?")], replace(HOT, seed=1))
    named = seeds([ask("Why?", key="row 1")])
    assert not once & named
    assert named == seeds([ask("What else?", key="row 1")])
    pictures = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "red")]
    red, blue, retryable = (seeds([ask("<image>?", images=[picture])]) for picture in pictures)
    assert red == retryable != blue, "without a key the contents of the media tell rows apart"


def test_logprobs_are_summed_and_confidence_is_their_mean(server: OpenAIServer) -> None:
    engine = make_engine(server)
    ((completion,),) = generate(engine, [ask("Why?")])
    values = [entry["logprob"] for entry in logprobs_of(completion.text)]
    assert completion.token_ids == ()
    assert (completion.logprob, completion.tokens) == (sum(values), 3)
    assert completion.confidence == sum(values) / 3
    server.behaviour.logprobs = False
    ((without,),) = generate(engine, [ask("Why?")])
    assert (without.logprob, without.tokens, without.confidence) == (None, None, None)


def test_confidence_of_known_tokens_is_as_before() -> None:
    assert Completion("a b", (3, 4), -3.0, "stop").confidence == -1.5
    assert Completion("a b", (3, 4), -3.0, "stop", tokens=9).confidence == -1.5
    assert Completion("a b", (), -3.0, "stop").confidence is None


@pytest.mark.parametrize("wrong", [None, "nan", -1e999, {}, True])
def test_a_logprob_that_is_no_number_is_none_of_all(server: OpenAIServer, wrong: object) -> None:
    content = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": wrong}]
    reply = server.behaviour.completion({"messages": [], "model": "test"})
    reply["choices"][0] |= {"logprobs": {"content": content}, "message": {"content": "a b"}}
    server.behaviour.script = lambda number, body: (200, {}, json.dumps(reply))
    ((completion,),) = generate(make_engine(server), [ask("Why?")])
    assert (completion.text, completion.logprob, completion.confidence) == ("a b", None, None)


def parts(body: dict[str, Any]) -> list[str | bytes]:
    """Return texts as they are and pictures as their bytes."""
    (message,) = body["messages"]
    found: list[str | bytes] = []
    for part in message["content"]:
        if part["type"] == "text":
            found.append(part["text"])
        else:
            head, _, content = part["image_url"]["url"].partition(";base64,")
            assert head in ("data:image/png", "data:image/jpeg")
            found.append(base64.b64decode(content))
    return found


def test_media_stand_where_their_placeholders_stood(server: OpenAIServer, small_world: Path) -> None:
    one, two = sorted((small_world / "images").glob("*.png"))[:2]
    clip = min((small_world / "clips").glob("*.mp4"))
    text = "Compare <image> with\n<image>, then <video>what moves?"
    engine = make_engine(server, video_fps=100.0, video_max_frames=3)
    generate(engine, [ask(text, images=[str(one), two.read_bytes()], videos=[str(clip)])])
    first, picture, second, other, third, *frames, last = parts(server.bodies[0])
    assert [first, second, third, last] == ["Compare ", " with\n", ", then ", "what moves?"]
    assert [picture, other] == [one.read_bytes(), two.read_bytes()]
    assert len(frames) == 3
    generate(engine, [ask("<video>?", videos=[[str(two), str(one)]])])
    assert parts(server.bodies[1]) == [two.read_bytes(), one.read_bytes(), "?"]


def test_pictures_are_made_smaller_before_they_are_sent(server: OpenAIServer, small_world: Path) -> None:
    path = min((small_world / "images").glob("*.png"))
    generate(make_engine(server, image_max_pixels=400), [ask("<image>?", images=[str(path)])])
    sent = Image.open(io.BytesIO(parts(server.bodies[0])[0]))
    assert sent.width * sent.height <= 400 < np.prod(Image.open(path).size)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask("<image>?", key="row 7"), r"request row 7: got 0 images and 1 placeholders <image>"),
        (ask("Why?", images=["a.png"]), r"request 1: got 1 images and 0 placeholders <image>"),
        (ask("<image><video>", images=["a.png"]), r"0 videos and 1 placeholders <video>"),
        (ask("<audio>?", audios=["a.wav"]), r"engine: openai. sends no sound"),
        (ask("<image>?", images=["none.png"]), r"images: got 'none.png', expected a readable medium: FileNotFound"),
    ],
)
def test_bad_media_are_named_before_anything_is_sent(server: OpenAIServer, request_: Request, message: str) -> None:
    requests = [ask("Fine?"), request_] if "none.png" not in request_.images else [request_]
    with pytest.raises(ValueError, match=message):
        generate(make_engine(server), requests)
    assert server.calls == 0


def test_scoring_is_refused_with_the_way_out(server: OpenAIServer) -> None:
    engine = make_engine(server)
    assert (engine.capabilities.scores, engine.capabilities.audios) == (False, False)
    assert engine.capabilities.texts and engine.capabilities.images and engine.capabilities.videos
    with pytest.raises(ValueError, match=r"engine: got openai.*helpful_by: outcome. or .helpful_by: lexical"):
        asyncio.run(engine.score([ask("Why?")], ["fish"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0, "max_retries": -1}, r"concurrency: got 0.*max_retries: got -1"),
        ({"timeout": 0}, r"timeout: got 0"),
        ({"price_in": 1.0}, r"price_in, price_out: got \(1.0, None\)"),
        ({"price_in": 1.0, "price_out": -1.0}, r"price_in, price_out"),
        ({"extra_body": {"seed": 1, "n": 2}}, r"extra_body: got n, seed"),
        ({"base_urls": []}, r"base_urls: got \[\]"),
        ({"base_urls": "http://localhost/v1"}, r"base_urls: got 'http"),
        ({"base_urls": ["localhost:8000/v1"]}, r"base_urls: got 'localhost:8000/v1'"),
        ({"base_urls": ["http://localhost:port/v1"]}, r"base_urls: got an address whose host or port cannot be read"),
        ({"image_max_pixels": 0}, r"image_max_pixels: got 0"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_engine(**{"base_urls": ["http://localhost:8000/v1"], **options})


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1?api-version=7"])
def test_addresses_are_understood_as_people_write_them(server: OpenAIServer, ending: str) -> None:
    url = server.url.removesuffix("/v1") + ending
    assert generate(make_engine(base_urls=[url]), [ask("Why?")])[0][0].text


def test_tokens_and_cost_are_counted_of_each_engine(server: OpenAIServer) -> None:
    """Two rows of 1 and 2 words, (1 + 2) * 2.0 in; each answer is 2 words and the stop token, (3 + 3) * 1.0 out."""
    engine = make_engine(server, price_in=2_000_000.0, price_out=1_000_000.0)
    other = make_engine(server)

    async def run() -> None:
        await asyncio.gather(*(engine.generate([ask(text)], GREEDY) for text in ("Why?", "Why not?")))
        await other.generate([ask("Why?")], GREEDY)
        await engine.close()
        await other.close()

    asyncio.run(run())
    assert (other.usage.calls, other.usage.prompt_tokens, other.usage.cost) == (1, 1, None)
    assert (engine.usage.calls, engine.usage.cost) == (2, 12.0)
    assert engine.usage.report() == ("2 calls (0 retries, 0 given up), 3 prompt + 6 completion tokens, cost 12.0000")


def test_answers_without_token_counts_are_told(server: OpenAIServer) -> None:
    full = server.behaviour.completion
    server.behaviour.completion = lambda body: {**full(body), "usage": None}
    engine = make_engine(server, price_in=1.0, price_out=1.0)
    generate(engine, [ask("Why?")])
    assert engine.usage.unmetered == 1
    assert "at least 0 prompt" in engine.usage.report()
    assert "counted none in 1 answers" in engine.usage.report()


def test_the_server_runs_as_a_program(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamafactory_hind.engines.server.retrying.FIRST_WAIT", 0.01)
    command = [sys.executable, str(root / "tests" / "shared" / "openai_server.py"), "--port", "0", "--faults", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            engine = make_engine(base_urls=[url], max_retries=30, timeout=2.0)
            generate(engine, [ask(f"Question {number}?") for number in range(20)])
            with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as response:
                stats = json.load(response)
        finally:
            process.terminate()
    assert (stats["successes"], stats["duplicates"]) == (20, 0)
    assert stats["calls"] == 20 + sum(stats["faults"].values()) == engine.usage.calls
    assert sum(stats["faults"].values()) > 0


# --- the same model behind the host's own server and in this process ---


@contextmanager
def host_server(model: Path, folder: Path, key: str) -> Iterator[str]:
    """Run `llamafactory-cli api`, and give its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "api.json"
    settings = {"model_name_or_path": str(model), "template": "qwen2_vl", "infer_backend": "huggingface"}
    config.write_text(json.dumps(settings))
    log = folder / "api.log"
    environment = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_KEY": key, "OMP_NUM_THREADS": "1"}
    with open(log, "w") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "llamafactory-cli"), "api", str(config)],
            env={**os.environ, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}/v1"
        wait_until_it_answers(url, key, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(url: str, key: str, process: subprocess.Popen, log: Path) -> None:
    asked = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"})
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(asked, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            try:
                process.wait(0.3)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(f"it did not answer: {log.read_text()[-2000:]}")


@pytest.mark.slow
def test_the_hosts_server_gives_what_the_same_model_gives_here(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy texts and prompt tokens agree; other pictures get other texts, so they arrived."""
    from llamafactory_hind.engines.local.engine import LocalEngine
    from llamafactory_hind.engines.local.weights import load_weights

    local = LocalEngine(load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"}), batch_size=8)
    pictures = [str(path) for path in sorted((small_world / "images").glob("*.png"))[:4]]
    clip = str(min((small_world / "clips").glob("*.mp4")))
    one = [ask("<image>What is this?", images=[path]) for path in pictures]
    two = [ask("<image>or<image>, which is new?", images=pair) for pair in pairwise(pictures)]
    none = [ask(f"What does {name} eat?", system="You know creatures.") for name in ("wug", "dax")]
    requests = [*one, *two, *none]
    expected = [[host_text(local, request)] for request in requests]
    assert expected[-len(none) :] == texts(asyncio.run(local.generate(none, GREEDY)))
    assert all(text.strip() for (text,) in expected)
    assert len({text for (text,) in expected[: len(one)]}) > 1, "pictures must matter, or this shows nothing"

    monkeypatch.setenv("HOST_SERVER_KEY", "secret-of-the-test")
    with host_server(small_world / "tiny", tmp_path, "secret-of-the-test") as url:
        options = {"base_urls": [url], "model": "tiny", "concurrency": 2, "timeout": 120.0}
        engine = make_engine(**options, api_key_env="HOST_SERVER_KEY")
        written = generate(engine, requests)
        assert texts(written) == expected
        assert {completion.logprob for (completion,) in written} == {None}, "this server gives none"
        assert engine.usage.prompt_tokens == sum(len(local.encode(request).input_ids) for request in requests)
        (several,) = generate(engine, requests[:1], HOT)
        assert len({completion.text for completion in several}) == 3
        assert (engine.usage.calls, engine.usage.retries) == (len(requests) + 1, 0)

        film = make_engine(**options, api_key_env="HOST_SERVER_KEY", video_fps=100.0, video_max_frames=3)
        assert generate(film, [ask("<video>What moves?", videos=[clip])])[0][0].text
        frames = ask("<image><image><image>What moves?", images=read_frames(clip, 100.0, 3))
        assert film.usage.prompt_tokens == len(local.encode(frames).input_ids)

        with pytest.raises(CallFailed, match="401: Invalid API key"):
            generate(make_engine(**options), requests[:1])


def host_text(local: Any, request: Request) -> str:
    """Write as the host's server, which passes on no `mm_token_type_ids`: pictures may then be placed as text.

    So its texts about pictures need not be those of `LocalEngine`, which passes them on.
    """
    import torch
    from transformers import GenerationConfig

    loaded, ids = local.loaded, local.encode(request).input_ids
    images = list(request.images)
    media = loaded.template.mm_plugin.get_mm_inputs(images, [], [], [len(images)], [0], [0], [ids], loaded.processor)
    config = GenerationConfig(
        max_new_tokens=GREEDY.max_new_tokens, do_sample=False, eos_token_id=local.stop_ids, pad_token_id=0
    )
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long), **media}
    inputs.pop("mm_token_type_ids", None)
    with torch.no_grad():
        written = loaded.model.generate(**inputs, generation_config=config)[0, len(ids) :]
    return loaded.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=True)
