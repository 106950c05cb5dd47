"""The official A-OKVQA scores (A-OKVQA, arXiv 2206.01718), equal to allenai/aokvqa `eval_predictions.py` in every case.

Texts are compared as they are: no normalisation, no leave-one-out. `match_choice` maps a model's words to a choice first.
"""

import re
from collections.abc import Sequence


ENOUGH_MATCHES = 3
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BRACKETED_LETTER = re.compile(r"[(\[]([A-Za-z])[)\]][.:]?(?:\s*(.+))?", re.DOTALL)  # (B)   [b]:   (B) dog
MARKED_LETTER = re.compile(r"([A-Za-z])(?:[.:)]\s*(.+)|[.:)]?)", re.DOTALL)  # B   B.   b)   b) dog
LETTER_BEHIND = re.compile(r"(.+?)\s*[(\[]([A-Za-z])[)\]]\.?", re.DOTALL)  # dog (B)
BRACKETED_TEXT = re.compile(r"\((.+)\)\.?|\[(.+)\]\.?", re.DOTALL)  # (dog)


def aokvqa_direct(prediction: str, answers: Sequence[str]) -> float:
    """Return `min(1, matches / 3)`, where a match is an equal text.

    Questions marked `difficult_direct_answer` do not count in the official mean; leaving them out is the caller's part.

    Args:
        prediction: the model's answer.
        answers: the direct answers, ten in A-OKVQA.

    Returns:
        Accuracy in 0..1.

    Raises:
        ValueError: there is no answer to compare with.
    """
    if not answers:
        raise ValueError("answers: got none, expected the direct answers of the question (ten in A-OKVQA).")
    return min(1.0, sum(answer == prediction for answer in answers) / ENOUGH_MATCHES)


def aokvqa_choice(prediction: str, choices: Sequence[str], correct: int | str) -> float:
    """Return 1 where the prediction is the text of the correct choice, else 0.

    Args:
        prediction: the text of a choice; `match_choice` finds it in a model's words.
        choices: the texts to choose from, four in A-OKVQA.
        correct: index of the correct choice (`correct_choice_idx` counts from 0), or its text.

    Returns:
        0.0 or 1.0.

    Raises:
        ValueError: `correct` is none of the choices.
    """
    return float(prediction == correct_text(choices, correct))


def correct_text(choices: Sequence[str], correct: int | str) -> str:
    """Return the text of the correct choice, given by its index or its text.

    Raises:
        ValueError: it is none of the choices.
    """
    if isinstance(correct, str) and correct in choices:
        return correct
    if isinstance(correct, int) and not isinstance(correct, bool) and 0 <= correct < len(choices):
        return choices[correct]
    expected = f"an index from 0 to {len(choices) - 1}, or one of {list(choices)}"
    raise ValueError(f"correct choice: got {correct!r}, expected {expected}.")


def match_choice(prediction: str, choices: Sequence[str]) -> str | None:
    """Return the choice that a model's words name, None where they name none or contradict themselves.

    The first rule that fits decides: the text of a choice; that text but for capitals, margins, quotes and a period at its end; a
    letter in brackets or with a mark (`(B)`, `B.`, `b) dog`, `dog (B)`), where a text beside it must be that letter's; a letter
    alone; the text in brackets. Likeness is never measured: the official way to map free text, nearest word vectors, always
    finds some choice.
    """
    words = prediction.strip()
    if words in choices:
        return words
    if (named := _by_text(words, choices)) is not None:
        return named
    for letter, text in _letters(words):
        index = LETTERS.index(letter.upper())
        if index < len(choices) and (not text or _plain(text) == _plain(choices[index])):
            return choices[index]
    bracketed = BRACKETED_TEXT.fullmatch(words)
    return _by_text(bracketed[1] or bracketed[2], choices) if bracketed else None


def _letters(words: str) -> list[tuple[str, str]]:
    """Return (letter, text beside it) for each way to read the words."""
    before = [pattern.fullmatch(words) for pattern in (BRACKETED_LETTER, MARKED_LETTER)]
    found = [(match[1], match[2] or "") for match in before if match]
    behind = LETTER_BEHIND.fullmatch(words)
    return found + ([(behind[2], behind[1])] if behind else [])


def _by_text(words: str, choices: Sequence[str]) -> str | None:
    same = {choice for choice in choices if _plain(choice) == _plain(words)}
    return same.pop() if len(same) == 1 else None


def _plain(text: str) -> str:
    return text.strip().strip("\"'`").rstrip(".").strip().casefold()
