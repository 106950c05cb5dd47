"""The record of paid calls: a row that is killed in the middle of its calls does not pay the finished ones again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engines.interface import Completion, Request, Sampling, kept_completion
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.completions import pack_completions, unpack_completions
from ...storage.digests import digest_media
from ...storage.journal import Journal


_encode = json.JSONEncoder(sort_keys=True).encode  # `json.dumps` makes an encoder a call for anything but its defaults


class CallJournal(Journal):
    """A journal of calls, found by everything the server was asked; the result is what it answered.

    It is the `engines.server.engine.CallStore` of a run.

    Args:
        path: of the file.
        settings: what else an answer depends on, such as the pixels of pictures.

    Attributes:
        reused: calls that were found.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Open the file, as a journal does."""
        super().__init__(path)
        self.reused = 0
        self._settings = dict(settings or {})
        self._shared: dict[str, str] = {}

    def name(self, model: str, request: Request, key: str, sampling: Sampling, temperature: float, number: int) -> str:
        """Return a digest of a call: model and settings, conversation, contents of media, sampling, and its random numbers.

        How many samples are asked for is no part of it: a server that gives fewer is asked for the rest by their own numbers.
        """
        if model not in self._shared:
            self._shared[model] = json.dumps([model, self._settings], sort_keys=True)
        media = digest_media({kind: getattr(request, kind) for kind in MEDIA_FIELDS})
        drawn = [temperature, sampling.top_p, sampling.top_k, sampling.max_new_tokens, sampling.seed, key, number]
        asked = _encode([request.system, list(request.messages), media, drawn])
        return hashlib.sha256(f"{self._shared[model]}{asked}".encode()).hexdigest()

    def find(self, name: str) -> list[Completion] | None:
        """Return the completions of a call that was answered; None if it was not."""
        if name not in self.results:
            return None
        self.reused += 1
        return unpack_completions(self.results[name], kept_completion)

    async def keep(self, name: str, row_id: str, completions: Sequence[Completion]) -> None:
        """Record an answered call; it is on the disk when this returns."""
        await self.commit(name, row_id, pack_completions(completions))


def name_streams(requests: Sequence[Request]) -> list[Request]:
    """Return the requests with random numbers of its own for each that repeats an earlier one of the same row."""
    seen: dict[str, int] = {}
    named = []
    for request in requests:
        content = json.dumps([request.key, list(request.messages)])
        number = seen[content] = seen.get(content, -1) + 1
        named.append(replace(request, key=f"{request.key}#{number}") if number and request.key else request)
    return named
