"""The `openai` engine: any server that speaks the OpenAI protocol (vLLM, `llamafactory-cli api`, commercial ones).

Client and retries are our own: see `connection` and `retrying` for why.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ..interface import Capabilities, Completion, Request, Sampling
from ..seeds import derive_seed, random_keys
from ..usage import Usage
from .api_key import ApiKey
from .connection import Connection, UnsupportedParameters
from .data_urls import DataUrls
from .parameters import OWN_PARAMETERS, VIDEO_FPS, VIDEO_MAX_FRAMES
from .protocol import CAPABILITIES, build_messages, check_media
from .retrying import CallFailed, FailedAttempt, backoff


if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("llamafactory.hind.engines.server.engine")
Item = TypeVar("Item")


class CallStore(Protocol):
    """Answered calls, so that none is paid for twice."""

    def name(self, model: str, request: Request, key: str, sampling: Sampling, temperature: float, number: int) -> str:
        """Return a name for everything that the answer depends on; arguments as in `OpenAIEngine`."""

    def find(self, name: str) -> list[Completion] | None:
        """Return the answer of a call; None if there is none."""

    async def keep(self, name: str, row_id: str, completions: Sequence[Completion]) -> None:
        """Record an answer; it survives a kill once this returns."""


class OpenAIEngine:
    """A model behind one or more servers.

    A completion has no `token_ids`. Its `logprob` is the sum of what the server gives, None where it gives nothing.
    That is the model's own at temperature 1. At others servers differ: vLLM gives the model's own (its default), some
    give those after the temperature, `llamafactory-cli api` gives none. Servers differ in counting the stop token too.
    What is not sent is up to the server: top_k of `llamafactory-cli api` is that of its own YAML.

    Args:
        model: its name at the server.
        base_urls: such as `http://localhost:8000/v1`; used in turn.
        api_key_env: name of the environment variable with the key; None for servers without keys.
        concurrency: calls under way at a time, of the whole engine.
        timeout: seconds for one attempt.
        max_retries: attempts after the first.
        price_in: currency units per million prompt tokens, for the report.
        price_out: the same for tokens written.
        extra_body: added to the body of every call.
        image_max_pixels: larger pictures are made smaller before they are sent; None leaves that to the server.
        image_min_pixels: smaller ones are made larger; None leaves them.
        video_max_pixels: the same for frames of videos; None is `image_max_pixels`.
        video_min_pixels: the same for frames of videos; None leaves them.
        video_fps: frames a second of a video, which is sent as pictures; None is 1.
        video_max_frames: frames of a video at most; None is 16.
        media_as_host: media are seen as LLaMA-Factory alone sees them.
        call_store: is asked before every call, and keeps its answer; None keeps none.

    Attributes:
        usage: calls, retries, failures, tokens, cost.
    """

    def __init__(
        self,
        *,
        model: str,
        base_urls: Sequence[str],
        api_key_env: str | None,
        concurrency: int,
        timeout: float,
        max_retries: int,
        price_in: float | None = None,
        price_out: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        image_max_pixels: int | None = None,
        image_min_pixels: int | None = None,
        video_max_pixels: int | None = None,
        video_min_pixels: int | None = None,
        video_fps: float | None = VIDEO_FPS,
        video_max_frames: int | None = VIDEO_MAX_FRAMES,
        media_as_host: bool = False,
        call_store: CallStore | None = None,
    ) -> None:
        """Check everything; nothing is sent.

        Raises:
            ValueError: names the wrong value, but never the key.
        """
        _check_numbers(concurrency=(concurrency, 1), timeout=(timeout, 1e-3), max_retries=(max_retries, 0))
        clash = sorted(OWN_PARAMETERS & set(extra_body or {}))
        if clash:
            raise ValueError(
                f"extra_body: got {', '.join(clash)}, which the engine sets itself. Use its own keys for them."
            )
        self.model = model
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.extra_body = dict(extra_body or {})
        self.usage = Usage(price_in, price_out)
        self._key = ApiKey(api_key_env)
        self._connection = Connection(base_urls, self._key, timeout=timeout)
        self._media = DataUrls(
            image_max_pixels=image_max_pixels,
            image_min_pixels=image_min_pixels,
            video_max_pixels=video_max_pixels,
            video_min_pixels=video_min_pixels,
            video_fps=VIDEO_FPS if video_fps is None else video_fps,
            video_max_frames=VIDEO_MAX_FRAMES if video_max_frames is None else video_max_frames,
            as_host=media_as_host,
        )
        self._calls = call_store
        self._left_out: set[str] = set()
        self._slots = asyncio.Semaphore(concurrency)

    @property
    def capabilities(self) -> Capabilities:
        """What such servers can give."""
        return CAPABILITIES

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write for every request at the same time; see `interface.Engine`.

        One call that fails ends the others: ask for each row apart to lose that row alone.

        Raises:
            CallFailed: a call was given up after its retries.
            ValueError: a request's media and placeholders disagree, or a medium cannot be read.
        """
        for number, request in enumerate(requests):
            check_media(request, f"request {number if request.key is None else request.key}")
        if not self._connection.is_open:
            self._slots = asyncio.Semaphore(self.concurrency)  # belongs to the event loop, as connections do
            self._connection.open()
        keys = random_keys(requests)
        return await _together(
            [self._write(request, key, sampling) for request, key in zip(requests, keys, strict=True)]
        )

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> NoReturn:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "engine: got openai, expected hf: servers of this kind cannot score given texts. Set `engine: hf`, or "
            "choose a rule that needs no scores: `helpful_by: outcome` or `helpful_by: lexical`."
        )

    def sync(self, model: "nn.Module") -> NoReturn:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "engine: got openai, expected one that takes weights: servers of this kind keep the model they were started with. "
            "Set `rollout_engine: hf`."
        )

    async def close(self) -> None:
        """Release connections; a later call opens new ones."""
        await self._connection.close()

    async def _write(self, request: Request, key: str, sampling: Sampling) -> list[Completion]:
        """Return all completions of one request."""
        if sampling.temperature == 0:  # n of them are one
            (greedy,) = await self._call(request, key, sampling, 0.0, -1, 1)
            return [greedy] * len(sampling.temperatures)
        parts = [self._call(request, key, sampling, 0.0, -1, 1)] if sampling.greedy_first else []
        if sampling.n:
            parts.append(self._sample(request, key, sampling))
        return [completion for part in await _together(parts) for completion in part]

    async def _sample(self, request: Request, key: str, sampling: Sampling) -> list[Completion]:
        """Return n samples: from one call where the server gives several choices, else from as many as it takes."""
        found: list[Completion] = []
        if sampling.n > 1 and "n" not in self._left_out:
            found = await self._call(request, key, sampling, sampling.temperature, 0, sampling.n)
        rest = [
            self._call(request, key, sampling, sampling.temperature, number, 1)
            for number in range(len(found), sampling.n)
        ]
        return [*found, *(completion for part in await _together(rest) for completion in part)]

    async def _call(
        self, request: Request, key: str, sampling: Sampling, temperature: float, number: int, count: int
    ) -> list[Completion]:
        """Return samples `number` and following, at least one and at most `count`, from the store where it has them."""
        if self._calls is None:
            return await self._ask(request, key, sampling, temperature, number, count)
        name = self._calls.name(self.model, request, key, sampling, temperature, number)
        known = self._calls.find(name)
        if known is not None:
            return known[:count]
        found = await self._ask(request, key, sampling, temperature, number, count)
        await self._calls.keep(name, request.key or "", found)
        return found

    async def _ask(
        self, request: Request, key: str, sampling: Sampling, temperature: float, number: int, count: int
    ) -> list[Completion]:
        """Do what `_call` does at the server.

        Raises:
            CallFailed: after all retries.
        """
        attempts = draws = 0
        while True:
            async with self._slots:
                # The body is made anew for every attempt: with pictures it is large, and many calls may be waiting.
                body = self._parameters(sampling, temperature, count)
                if "seed" not in self._left_out:
                    body["seed"] = derive_seed(sampling.seed, key, number, draws)
                body["messages"] = await self._messages(request)
                outcome = await self._attempt(body)
            if isinstance(outcome, list):
                return outcome[:count]
            if outcome is None:
                continue
            attempts += 1
            if not outcome.retryable or attempts > self.max_retries:
                self.usage.add(failures=1)
                raise CallFailed(outcome.reason, status=outcome.status, attempts=attempts)
            self.usage.add(retries=1)
            draws += outcome.resample
            await asyncio.sleep(
                backoff(attempts, None if self._connection.endpoints.any_available() else outcome.retry_after)
            )

    def _parameters(self, sampling: Sampling, temperature: float, count: int) -> dict[str, Any]:
        tokens = "max_completion_tokens" if "max_tokens" in self._left_out else "max_tokens"
        body = {"model": self.model, tokens: sampling.max_new_tokens, "temperature": temperature}
        body |= {"top_p": sampling.top_p, "logprobs": True}
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if count > 1:
            body["n"] = count
        return {name: value for name, value in body.items() if name not in self._left_out} | self.extra_body

    async def _messages(self, request: Request) -> list[dict[str, Any]]:
        urls = {}
        for kind in ("images", "videos"):
            urls[kind] = [await self._media.get(kind, medium) for medium in getattr(request, kind)]
        return build_messages(request, urls)

    async def _attempt(self, body: Mapping[str, Any]) -> list[Completion] | FailedAttempt | None:
        """Send a call once; return what came of it, or None if it is to be sent without a refused parameter."""
        self.usage.add(calls=1)
        outcome = await self._connection.send(body)
        if isinstance(outcome, UnsupportedParameters):
            self._leave_out(outcome.names, f"refuses {', '.join(outcome.names)} ({outcome.message})")
            return None
        if isinstance(outcome, FailedAttempt):
            return outcome
        self.usage.add(**({"unmetered": 1} if outcome.usage is None else outcome.usage))
        if outcome.choices == 1 < body.get("n", 1):
            self._leave_out(["n"], "gives one choice whatever n says: samples are calls of their own")
        return outcome.completions if outcome.failure is None else outcome.failure

    def _leave_out(self, names: Sequence[str], reason: str) -> None:
        """Send some parameters no more, and log that once: calls under way may be refused for the same reason."""
        new = set(names) - self._left_out
        self._left_out |= new
        if new:
            logger.warning("%s: the server %s. Left out from now on: %s.", self.model, reason, ", ".join(sorted(new)))


async def _together(parts: Sequence[Coroutine[Any, Any, Item]]) -> list[Item]:
    """Return the results of all parts, in order; where one fails, the others end first."""
    if len(parts) == 1:
        return [await parts[0]]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _check_numbers(**numbers: tuple[float, float]) -> None:
    wrong = [
        f"{name}: got {value}, expected {least:g} or more" for name, (value, least) in numbers.items() if value < least
    ]
    if wrong:
        raise ValueError("; ".join(wrong) + ". Choose larger numbers.")
