"""The `<think>…</think><answer>…</answer>` layout of Reason-RFT (arXiv 2503.20752): its reward, and reading the answer."""

import re
from collections.abc import Sequence
from typing import Any


LAYOUT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def layout_format(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return 1 where the ENTIRE completion is `<think>…</think>`, white space or none, `<answer>…</answer>`; else 0.

    Both parts may be empty and hold newlines; nothing may stand in front or behind, not even a newline. Equal to Reason-RFT's
    `format_reward` (train/stage_rl/reward.py).
    """
    return [float(LAYOUT.fullmatch(text) is not None) for text in completions]


def answer_text(completion: str) -> str | None:
    """Return what stands between the first pair of `<answer>` tags, without margins; None where there is no pair.

    The official rewards miss an answer that holds a newline, which their own format reward and evaluation accept.
    """
    match = ANSWER.search(completion)
    return None if match is None else match[1].strip()


def answer_or_all(completion: str) -> str:
    """Return the answer between tags, or the whole completion where there are none."""
    answer = answer_text(completion)
    return completion.strip() if answer is None else answer
