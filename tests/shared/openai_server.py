"""A real HTTP server that speaks the OpenAI protocol, for tests (in a thread) and benchmarks (a process of its own).

Answers follow from the request alone, faults from the seed and the number of the request: a run can be repeated.
"""

import argparse
import asyncio
import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from time import time
from typing import Any, Self

from aiohttp import web


FAULTS = ("error", "busy", "hang", "cut", "empty", "schema", "reset")


def digest_of(*parts: object) -> bytes:
    """Return 16 bytes that follow from the parts alone."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()


def answer(body: Mapping[str, Any], number: int) -> str:
    """Return the text of choice `number`; greedy texts depend on the messages, sampled ones on the seed as well."""
    seed = body.get("seed", 0) if body.get("temperature") else "greedy"
    return f"answer {digest_of(json.dumps(body['messages']), seed, number).hex()[:12]}"


def logprobs_of(text: str) -> list[dict[str, Any]]:
    """Return one entry a word and one for the stop token."""
    return [
        {"token": token, "logprob": -digest_of(token)[0] / 64, "bytes": None, "top_logprobs": []}
        for token in [*text.split(), "<stop>"]
    ]


class Behaviour:
    """What the server does; changed at any time by a test in the same process.

    Args:
        latency: seconds before an answer.
        faults: share of requests that go wrong.
        kinds: which faults, evenly.
        seed: of the faults.
        retry_after: what a busy server asks for, in seconds; "date" sends a date one second ahead instead.
        refused: parameters answered with 400.
        most_choices: choices an answer has at most, whatever `n` says; None is no limit.
        logprobs: give them when asked.
        api_key: what must be in the header; None takes everything.
        answer: (body, number of the choice) -> text.
        script: (number of the request, body) -> (status, headers, body text) or None, before all else.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        faults: float = 0.0,
        kinds: Sequence[str] = FAULTS,
        seed: int = 0,
        retry_after: float | str = 0.05,
        refused: Sequence[str] = (),
        most_choices: int | None = None,
        logprobs: bool = True,
        api_key: str | None = None,
        answer: Callable[[Mapping[str, Any], int], str] = answer,
        script: Callable[[int, Mapping[str, Any]], tuple[int, Mapping[str, str], str] | None] | None = None,
    ) -> None:
        self.latency = latency
        self.faults = faults
        self.kinds = tuple(kinds)
        self.seed = seed
        self.retry_after = retry_after
        self.refused = tuple(refused)
        self.most_choices = most_choices
        self.logprobs = logprobs
        self.api_key = api_key
        self.answer = answer
        self.script = script

    def fault(self, number: int) -> str | None:
        """Return what goes wrong with request `number`."""
        if not self.faults:
            return None
        drawn = digest_of(self.seed, number)
        if int.from_bytes(drawn[:8], "little") >= self.faults * 2**64:
            return None
        return self.kinds[int.from_bytes(drawn[8:], "little") % len(self.kinds)]

    def completion(self, body: Mapping[str, Any], *, empty: bool = False) -> dict[str, Any]:
        """Return the reply to a request."""
        choices = []
        for number in range(min(body.get("n") or 1, self.most_choices or 1_000_000)):
            text = "" if empty else self.answer(body, number)
            choice = {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            if self.logprobs and body.get("logprobs"):
                choice["logprobs"] = {"content": logprobs_of(text)}
            choices.append(choice)
        prompt = sum(len(json.dumps(message["content"]).split()) for message in body["messages"])
        written = sum(len(choice["message"]["content"].split()) + 1 for choice in choices)
        usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": choices,
            "usage": usage,
        }


class OpenAIServer:
    """The server. `with OpenAIServer(Behaviour()) as server:` runs it in a thread.

    Attributes:
        bodies: the latest requests as they came, parsed.
        headers: their headers.
        seen: body digest -> how often it came.
        done: body digest -> how often it was answered well.
        faults: kind -> how often.
        most_at_once: requests in work at one time, at most.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0, keep: int = 1000) -> None:
        self.behaviour = behaviour or Behaviour()
        self.port = port
        self.bodies: deque[dict[str, Any]] = deque(maxlen=keep)
        self.headers: deque[dict[str, str]] = deque(maxlen=keep)
        self.seen: Counter[bytes] = Counter()
        self.done: Counter[bytes] = Counter()
        self.faults: Counter[str] = Counter()
        self.calls = 0
        self.most_at_once = 0
        self._at_once = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Return counts; `duplicates` are requests that were answered well although an equal one had been."""
        successes = sum(self.done.values())
        return {
            "calls": self.calls,
            "successes": successes,
            "duplicates": successes - len(self.done),
            "faults": dict(self.faults),
            "distinct": len(self.seen),
            "most_at_once": self.most_at_once,
        }

    async def open(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def shut(self) -> None:
        """Stop listening and end what is in work."""
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "test", "object": "model"}]})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        number, self.calls = self.calls, self.calls + 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request, number, await request.read())
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.Request, number: int, raw: bytes) -> web.StreamResponse:
        behaviour = self.behaviour
        body = json.loads(raw)
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.seen[digest] += 1
        if behaviour.latency:
            await asyncio.sleep(behaviour.latency)
        scripted = behaviour.script(number, body) if behaviour.script else None
        if scripted is not None:
            status, headers, text = scripted
            return web.Response(status=status, headers=headers, text=text, content_type="application/json")
        if behaviour.api_key and request.headers.get("Authorization") != f"Bearer {behaviour.api_key}":
            return error(401, f"Wrong key: {request.headers.get('Authorization')}")
        wrong = [name for name in behaviour.refused if name in body]
        if wrong:
            return error(400, f"Unrecognized request argument supplied: {wrong[0]}")
        kind = behaviour.fault(number)
        if kind is not None:
            self.faults[kind] += 1
            return await self._fail(kind, request, body)
        self.done[digest] += 1
        return reply(behaviour.completion(body))

    async def _fail(self, kind: str, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        if kind == "error":
            return error(500, "Internal error.")
        if kind == "busy":
            wait = self.behaviour.retry_after
            wait = formatdate(time() + 1, usegmt=True) if wait == "date" else str(wait)
            return error(429, "Too many requests.", {"Retry-After": wait})
        if kind == "hang":
            await asyncio.Event().wait()  # cancelled when the client goes away
        if kind == "empty":
            return reply(self.behaviour.completion(body, empty=True))
        if kind == "schema":
            return reply({"choices": [], "object": "chat.completion"})
        if kind == "cut":
            text = json.dumps(self.behaviour.completion(body))
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        request.transport.abort()  # the client sees a connection reset
        return web.Response()

    def __enter__(self) -> Self:
        """Run in a thread with its own event loop."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.shut(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


def reply(content: Mapping[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(content).encode(), content_type="application/json")


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    content = json.dumps({"error": {"message": message, "type": "error", "code": status}})
    return web.Response(status=status, headers=headers, text=content, content_type="application/json")


async def serve(server: OpenAIServer) -> None:
    """Print the URL and serve until the process is ended."""
    await server.open()
    print(server.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the URL is the first line printed")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that go wrong")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="which faults, separated by commas")
    parser.add_argument("--retry-after", type=float, default=0.05, help="seconds that a busy server asks for")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    given = parser.parse_args()
    behaviour = Behaviour(
        latency=given.latency,
        faults=given.faults,
        kinds=given.kinds.split(","),
        retry_after=given.retry_after,
        seed=given.seed,
    )
    asyncio.run(serve(OpenAIServer(behaviour, port=given.port, keep=100)))


if __name__ == "__main__":
    main()
