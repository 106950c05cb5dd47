"""The right choice of a row, and how an answer says it."""

from collections.abc import Sequence
from typing import Any

from ..prompts.wording import CHOICE_LETTERS


def gold_index(answer: Any, choices: Sequence[str]) -> int | None:
    """Return the index of the right choice, given as its text, its capital letter or its index from 0; None if it is none.

    The text of a choice goes before a letter: a choice may be called `B`.
    """
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(choices) else None
    if not isinstance(answer, str):
        return None
    plain = [_plain(choice) for choice in choices]
    if _plain(answer) in plain:
        return plain.index(_plain(answer))
    letters = CHOICE_LETTERS[: len(choices)]
    if len(answer.strip()) == 1 and answer.strip() in letters:
        return letters.index(answer.strip())
    if answer.strip().isdecimal() and int(answer) < len(choices):
        return int(answer)
    return None


def answer_text(answer: Any, choices: Sequence[str] | None, form: str) -> str:
    """Return the answer as the model shall write it: `B`, `the ball`, `(B) the ball`; without choices as it is.

    Args:
        answer: of a row that was checked.
        choices: texts; None or empty for an open question.
        form: `letter`, `text` or `both`.
    """
    if not choices:
        return str(answer)
    index = gold_index(answer, choices)
    if index is None:
        raise ValueError(f"answer: got {answer!r:.160}, expected one of {list(choices)}, its letter, or its index.")
    letter, text = CHOICE_LETTERS[index], choices[index]
    return {"letter": letter, "text": text, "both": f"({letter}) {text}"}[form]


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
