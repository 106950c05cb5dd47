"""Names of the streams of random numbers of requests. Pure Python."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .interface import Request


SEED_BITS = 31  # what every server takes


def random_keys(requests: Sequence[Request]) -> list[str]:
    """Return a name for each request's random numbers: its key, else its content and how often that came before."""
    seen: Counter[str] = Counter()
    keys = []
    for request in requests:
        key = _content_key(request) if request.key is None else request.key
        keys.append(f"{key}/{seen[key]}")
        seen[key] += 1
    return keys


def derive_seed(seed: int, key: str, number: int, draw: int = 0) -> int:
    """Return the seed of sample `number` of a request; `draw` counts samples that had to be thrown away."""
    text = f"{seed}/{key}/{number}" + (f"/{draw}" if draw else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> (64 - SEED_BITS)


def _content_key(request: Request) -> str:
    media = [[_name(medium) for medium in kind] for kind in (request.images, request.videos, request.audios)]
    content = repr((list(request.messages), request.system, media))
    return hashlib.sha256(content.encode()).hexdigest()


def _name(medium: Any) -> str:
    """Return the identity of a medium: its path, else its bytes."""
    if isinstance(medium, str):
        return medium
    if isinstance(medium, list | tuple):
        return repr([_name(frame) for frame in medium])
    if isinstance(medium, dict):
        return repr({key: _name(value) for key, value in medium.items()})
    content = medium.tobytes() if hasattr(medium, "tobytes") else medium
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else repr(content)
