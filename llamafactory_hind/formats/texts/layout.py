"""Texts of other models in the layout of Reason-RFT (arXiv 2503.20752): `<think>…</think><answer>…</answer>`.

A policy that is rewarded for the layout learns nothing from a text without it, so such a text is put into it by a fixed rule.
"""

import re


TEMPLATE = "<think>{thought}</think><answer>{answer}</answer>"
LAYOUT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
TAGS = re.compile(r"</?think>|</?answer>")
# `Answer: 5`, `So the final answer is 5.`, `**Answer:** 5`; a full stop behind such a line is the sentence's, not the answer's.
LAST_LINE = re.compile(
    r"[\s*#]*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?answer\b[\s*]*(?:is\b|[:\uff1a])"
    r"[\s*:\uff1a]*(?P<answer>.+?)[\s*]*\.?[\s*]*"
    r"|[\s*#]*(?:最终|正确)?答案[\s*]*(?:是|为|[:\uff1a])[\s*:\uff1a]*(?P<zh>.+?)[\s*]*[.\u3002]?[\s*]*",
    re.IGNORECASE,
)


def has_layout(text: str) -> bool:
    """Say whether a whole text, without white space around it, is `<think>…</think>`, white space or none, `<answer>…</answer>`."""
    return LAYOUT.fullmatch(text.strip()) is not None


def is_cut(text: str) -> bool:
    """Say whether a text opens `<think>` or `<answer>` and never closes it, as one does that was cut while it was written."""
    return any(
        text.rfind(f"<{tag}>") > text.rfind(f"</{tag}>") for tag in ("think", "answer")
    )  # -1 > -1 is false where neither stands


def wrap(text: str) -> str:
    """Return a text in the layout `<think>{thought}</think><answer>{answer}</answer>`.

    - A text with this layout is not changed, except that white space around it is removed.
    - With a pair of answer tags: the answer is between the first pair, the thought in front of it, the rest is dropped.
    - Else the answer is the last line, without words like `Answer:` or `The answer is` and the full stop of such a line, and the
      thought is the text before it. Tags that are left over are removed.
    """
    text = text.strip()
    if LAYOUT.fullmatch(text):
        return text
    if match := ANSWER.search(text):
        thought, answer = text[: match.start()], match[1]
    else:
        thought, _, answer = TAGS.sub("\n", text).strip().rpartition("\n")
        if found := LAST_LINE.fullmatch(answer):
            answer = found["answer"] or found["zh"]
    return TEMPLATE.format(thought=TAGS.sub("", thought).strip(), answer=TAGS.sub("", answer).strip())


def answer_text(completion: str) -> str | None:
    """Return what is between the first pair of `<answer>` tags, without white space around it; None where there is no pair.

    Reason-RFT's own rewards miss an answer that holds a newline, which their format reward and evaluation accept.
    """
    match = ANSWER.search(completion)
    return None if match is None else match[1].strip()


def answer_or_all(completion: str) -> str:
    """Return the answer between tags, or the whole completion where there are none, without white space around it."""
    answer = answer_text(completion)
    return completion.strip() if answer is None else answer
