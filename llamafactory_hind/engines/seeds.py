"""Names of the streams of random numbers of requests. Pure Python."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..formats.media.fields import MEDIA_FIELDS
from ..storage.digests import medium_name
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
    media = [[_text(medium) for medium in getattr(request, kind)] for kind in MEDIA_FIELDS]
    content = repr((list(request.messages), request.system, media))
    return hashlib.sha256(content.encode()).hexdigest()


def _text(medium: Any) -> str:
    """Return the name of a medium as one text. Random numbers hang on its letters: they must not change."""

    def flat(name: Any) -> str:
        if isinstance(name, list):
            return repr([flat(part) for part in name])
        return repr({key: flat(part) for key, part in name.items()}) if isinstance(name, dict) else str(name)

    return flat(medium_name(medium, path=str, shaped=False))
