"""Checks that several stages share: ranges of numbers, keys of a reference model."""

from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Problem


Lowest = Mapping[str, tuple[float, bool]]  # key -> lowest value, and whether the value itself is allowed


def out_of_range(
    settings: Mapping[str, Any], lowest: Lowest, why: Mapping[str, str] | None = None
) -> Iterator[Problem]:
    """Find numbers that are too small; `why` has remedies in place of the usual one."""
    for key, (least, inclusive) in lowest.items():
        value = settings[key]
        if value < least or (value == least and not inclusive):
            expected = f"{least} or more" if inclusive else f"a number above {least}"
            yield Problem(key, value, expected, (why or {}).get(key, "Change it, or remove it for the default."))


def reference_keys(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find keys of a reference model where there is none."""
    for key in ("ref_model_adapters", "ref_model_quantization_bit"):
        if settings.get(key) is not None and settings.get("ref_model") is None:
            yield Problem(key, settings[key], "`ref_model` beside it", "Set `ref_model`, or remove this key.")
