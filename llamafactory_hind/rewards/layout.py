"""The `<think>…</think><answer>…</answer>` layout of Reason-RFT (arXiv 2503.20752) as a reward."""

from collections.abc import Sequence
from typing import Any

from ..formats.texts.layout import LAYOUT


def layout_format(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return 1 where the ENTIRE completion is `<think>…</think>`, white space or none, `<answer>…</answer>`; else 0.

    Both parts may be empty and hold newlines; nothing may be in front or behind, not even a newline. Equal to Reason-RFT's
    `format_reward` (train/stage_rl/reward.py).
    """
    return [float(LAYOUT.fullmatch(text) is not None) for text in completions]


REWARDS = {"format": layout_format}
