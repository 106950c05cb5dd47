"""The record of paid calls: a row that is killed in the middle of its calls does not pay the finished ones again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...engines.interface import Completion, Request, Sampling
from ...engines.server.engine import OpenAIEngine
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.completions import pack_completions, unpack_completions
from ...storage.digests import digest_media
from ...storage.journal import Journal


_encode = json.JSONEncoder(sort_keys=True).encode  # `json.dumps` makes an encoder a call for anything but its defaults


class CallJournal(Journal):
    """A journal of calls, found by everything the server was asked; the result is what it answered."""

    def find(self, key: str) -> list[Completion] | None:
        """Return the completions of a call that was answered; None if it was not."""
        if key not in self.results:
            return None
        return unpack_completions(self.results[key], Completion)

    async def keep(self, key: str, row_id: str, completions: Sequence[Completion]) -> None:
        """Record an answered call; it is on the disk when this returns."""
        await self.commit(key, row_id, pack_completions(completions))


class RecordedEngine(OpenAIEngine):
    """A server's engine whose answered calls are recorded, and asked once.

    Args:
        calls: the record.
        settings: what else an answer depends on, such as the pixels of pictures.
        **options: of `OpenAIEngine`.

    Attributes:
        reused_calls: taken from the record.
    """

    def __init__(self, calls: CallJournal, settings: Mapping[str, Any], **options: Any) -> None:
        """Call nothing yet."""
        super().__init__(**options)
        self.reused_calls = 0
        self._calls = calls
        self._shared = json.dumps([self.model, dict(settings)], sort_keys=True)

    async def _call(
        self, request: Request, key: str, sampling: Sampling, temperature: float, number: int, count: int
    ) -> list[Completion]:
        name = call_key(self._shared, request, key, sampling, temperature, number)
        known = self._calls.find(name)
        if known is not None:
            self.reused_calls += 1
            return known[:count]
        found = await super()._call(request, key, sampling, temperature, number, count)
        await self._calls.keep(name, request.key or "", found)
        return found


def call_key(shared: str, request: Request, key: str, sampling: Sampling, temperature: float, number: int) -> str:
    """Return a digest of a call: model and settings, conversation, contents of media, sampling, and its random numbers.

    How many samples are asked for is no part of it: a server that gives fewer is asked for the rest by their own numbers.
    """
    media = digest_media({kind: getattr(request, kind) for kind in MEDIA_FIELDS})
    drawn = [temperature, sampling.top_p, sampling.top_k, sampling.max_new_tokens, sampling.seed, key, number]
    asked = _encode([request.system, list(request.messages), media, drawn])
    return hashlib.sha256(f"{shared}{asked}".encode()).hexdigest()


def name_streams(requests: Sequence[Request]) -> list[Request]:
    """Return the requests with random numbers of its own for each that repeats an earlier one of the same row."""
    seen: dict[str, int] = {}
    named = []
    for request in requests:
        content = json.dumps([request.key, list(request.messages)])
        number = seen[content] = seen.get(content, -1) + 1
        named.append(replace(request, key=f"{request.key}#{number}") if number and request.key else request)
    return named
