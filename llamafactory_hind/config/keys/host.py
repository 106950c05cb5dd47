"""Every key of the host for each kind of rows: honoured, refused with the reason, or neutral.

`tests/config/test_host_keys.py` fails for a key of the installed host that is in none of the tables.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from ..problem import Problem
from .host_known import HONOURED, HONOURED_FOR, NEUTRAL
from .host_refused import CRITIC, EVERYWHERE, MATCHING, MULTITASK, PAIRS, PROMPTS, SCORED, Refused


Treatment = Literal["used", "refused", "neutral"]
REFUSED: dict[str, dict[str, Refused]] = {
    "pairs": EVERYWHERE | SCORED | PAIRS,
    "prompts": EVERYWHERE | SCORED | PROMPTS,
    "multitask": EVERYWHERE | MULTITASK,
    "critic": EVERYWHERE | CRITIC,
    "matching": EVERYWHERE | MATCHING,
}
USED = {key for keys in HONOURED.values() for key in keys.split()}
_NEUTRAL = {key for keys in NEUTRAL.values() for key in keys.split()}


def treatment(key: str, rows: str) -> Treatment | None:
    """Return what a stage with such rows does with a key of the host, None for a key that the tables do not know.

    `refused` keys have values that do no harm; their defaults are among them unless another key stands in their place.
    """
    if key in REFUSED[rows]:
        return "refused"
    if key in USED or key in HONOURED_FOR.get(rows, "").split():
        return "used"
    return "neutral" if key in _NEUTRAL else None


def host_keys(settings: Mapping[str, Any], stage: str, rows: str) -> Iterator[Problem]:
    """Find keys of the host that a stage would ignore, or that would make it compute something else.

    Args:
        settings: key -> value; null is unset.
        stage: ours.
        rows: their kind, a key of `REFUSED`.
    """
    for key, value in settings.items():
        entry = REFUSED[rows].get(key)
        if entry is not None and value is not None and not entry.harmless(value):
            yield Problem(key, value, f"{entry.expected} with `stage: {stage}`", entry.remedy)


def unclassified(keys: Collection[str], rows: str) -> list[str]:
    """Return the keys of the host that are in none of the tables, in the order given."""
    return [key for key in keys if treatment(key, rows) is None]
