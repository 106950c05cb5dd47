"""The rewards that have a name."""

from collections.abc import Callable
from typing import Any

from ..config.types import nearest
from .answer import accuracy, choice, math_equal, numeric_tolerance, vqa
from .grounding import box_iou
from .layout import layout_format
from .temporal import temporal_iou
from .trance import trance, trance_full, trance_penalty


REWARDS: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy,
    "box_iou": box_iou,
    "choice": choice,
    "format": layout_format,
    "math": math_equal,
    "numeric_tolerance": numeric_tolerance,
    "temporal_iou": temporal_iou,
    "trance": trance,
    "trance_full": trance_full,
    "trance_penalty": trance_penalty,
    "vqa": vqa,
}


def get_reward(name: str) -> Callable[..., Any]:
    """Return a registered reward: `f(completions, **columns)` -> a float or None (does not apply) for each completion.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    if name not in REWARDS:
        near = nearest(name, REWARDS, at_least=0.5)
        hint = f" Did you mean `{near}`?" if near else ""
        own = "one of your own is `package.module:function` or `path/to/file.py:function`"
        raise ValueError(f"reward {name!r}: unknown.{hint} Registered: {', '.join(sorted(REWARDS))}; {own}.")
    return REWARDS[name]
