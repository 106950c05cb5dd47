"""Rewards that compare an answer with the gold one: Reason-RFT's (arXiv 2503.20752), VQA accuracy and multiple choice."""

import math
import re
from collections.abc import Sequence
from typing import Any

from ..config.problem import shorten
from ..evaluation import vqa_accuracy
from ..evaluation.aokvqa import LETTERS, match_choice
from ..formats.texts.layout import answer_or_all, answer_text
from .columns import GOLD, gold_texts, gold_values, score_rows
from .gold import read_gold
from .symbolic import is_equal


FULL_REWARD = 0.05  # relative error up to which a number counts in full (Reason-RFT's epsilon1)
NO_REWARD = 0.20  # relative error from which it does not count (epsilon2)
# (B)   [b]: dog   B   B.   b) dog
LETTER = re.compile(r"[(\[]([A-Za-z])[)\]].*|([A-Za-z])(?:[.:)](?:\s.*)?)?", re.DOTALL)


def accuracy(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return 1 where the answer is the gold answer, else 0.

    The text between `<answer>` tags, without white space around it, must equal the gold text, character by character. Where a completion
    has no tags, all of it must, or be equal as mathematics (math-verify). A gold text that is a list or a set is compared part by
    part, between tags as well: all parts, or 0. Equal to Reason-RFT's `accuracy_reward`
    (train/stage_rl/reward.py), but that answers with newlines count and that math-verify gets gold and prediction in its
    own order: it is not symmetric, `1 < x < 2` is no answer where the interval (1, 2) is asked for.

    Args:
        completions: texts.
        columns: `answer` or `solution`, text or number; None where the reward does not apply.
    """
    return score_rows(completions, gold_texts(columns, len(completions)), _accuracy)


def math_equal(completions: Sequence[str], **columns: Any) -> list[float | None]:
    r"""Return 1 where the answer equals the gold answer as text or as mathematics (math-verify), else 0.

    The answer is the text between `<answer>` tags, all of the completion without them. Reason-RFT's evaluation of GeoMath and
    CLEVR-Math (eval/cal_score_benchmarks_for_open_source.py), but that LaTeX without dollar signs is read as LaTeX:
    math-verify reads `2\sqrt{3}` as 2 otherwise. None, with a warning, where the comparison takes five seconds of the processor.

    Args:
        completions: texts.
        columns: `answer` or `solution`, text or number; None where the reward does not apply.
    """
    return score_rows(completions, gold_texts(columns, len(completions)), _math)


def numeric_tolerance(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return how near a number is: with d = |a - g|, 1 for d < 0.05|g|, 0 for d > 0.20|g|, a half cosine between.

    Between: 0.5 (cos(pi (d - 0.05|g|) / (0.15|g|)) + 1). Where answer or gold is no finite number: 1 for equal text, else 0.
    Where a completion without tags scored 0: 1 if math-verify finds the gold value in it. A gold text that is a list or a set is
    compared part by part: 1 for all of them. Equal to Reason-RFT's
    `math_accuracy_reward` (train/stage_rl/reward.py), but that 0 is right where 0 is asked for (0 there: it divides by 0) and
    that `nan` scores 0 (NaN there).

    Args:
        completions: texts.
        columns: `answer` or `solution`, text or number; None where the reward does not apply.
    """
    return score_rows(completions, gold_texts(columns, len(completions)), _tolerance)


def choice(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return 1 where the answer names the correct choice, else 0 [ours].

    With a column `choices`: `evaluation.aokvqa.match_choice` finds the choice that the answer names, by its text or its letter
    (`B`, `(B)`, `B.`, `B) dog`, `dog (B)`; a text beside a letter must be that letter's). The gold `answer` is the text of a
    choice, its letter, or its index from 0. Without `choices` the gold answer is a letter, and the answer's first letter is
    compared: `B`, `(B) …`, `B. …`, `B: …`, `B) …`.

    Args:
        completions: texts; the answer between tags, else all of it.
        columns: `answer` or `solution`, and `choices`; None where the reward does not apply.
    """
    count = len(completions)
    listed = columns.get("choices") or [None] * count
    golds = [
        None if value is None else _correct_choice(field, value, choices)
        for (field, value), choices in zip(gold_values(columns, GOLD, count), listed, strict=True)
    ]
    return [
        None if gold is None else float(_named_choice(answer_or_all(text), choices) == gold)
        for text, gold, choices in zip(completions, golds, listed, strict=True)
    ]


def vqa(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return the official VQA accuracy, 0..1, of the answer against the column `answers` (`evaluation.vqa_accuracy`).

    Args:
        completions: texts; the answer between tags, else all of it.
        columns: `answers`, a list of texts, ten in VQA and OK-VQA; None where the reward does not apply.
    """
    golds = [_references(value) for _, value in gold_values(columns, ("answers",), len(completions))]
    return score_rows(completions, golds, lambda text, answers: vqa_accuracy(answer_or_all(text), answers))


def _accuracy(completion: str, gold: str) -> float | None:
    answer = answer_text(completion)
    if answer is not None:
        return 1.0 if answer == gold else _several(answer, gold)
    return 1.0 if completion.strip() == gold else _symbolic(completion, gold)


def _math(completion: str, gold: str) -> float | None:
    answer = answer_or_all(completion)
    return 1.0 if answer == gold else _symbolic(answer, gold)


def _several(answer: str, gold: str) -> float | None:
    """Compare part by part where the gold answer is a list or a set, all of them or none; any other was no equal text."""
    return _symbolic(answer, gold) if read_gold(gold).kind in ("list", "set") else 0.0


def _symbolic(answer: str, gold: str) -> float | None:
    equal = is_equal(gold, answer)
    return None if equal is None else float(equal)


def _tolerance(completion: str, gold: str) -> float | None:
    answer = answer_or_all(completion)
    number, target = _finite(answer), _finite(gold)
    if number is None or target is None:
        reward = float(answer == gold)
    else:
        reward = _nearness(abs(number - target), abs(target))
    if reward == 0:
        return _symbolic(completion, gold) if answer_text(completion) is None else _several(answer, gold)
    return reward


def _nearness(difference: float, size: float) -> float:
    """Return the reward of an absolute error where the gold number has this absolute value."""
    if difference < FULL_REWARD * size or difference == 0:  # the second for a gold value of 0
        return 1.0
    if difference > NO_REWARD * size:
        return 0.0
    return 0.5 * (math.cos(math.pi * (difference - FULL_REWARD * size) / ((NO_REWARD - FULL_REWARD) * size)) + 1)


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _correct_choice(field: str, value: Any, choices: Sequence[str] | None) -> str:
    """Return the gold choice: its text, or its letter where there is no list of choices."""
    if choices:
        if isinstance(value, str) and value in choices:
            return value
        index = value
        if isinstance(value, str):
            letter = LETTER.fullmatch(answer_or_all(value))
            found = match_choice(answer_or_all(value), choices)
            if found is not None:
                return found
            index = LETTERS.index((letter[1] or letter[2]).upper()) if letter else None
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(choices):
            return choices[index]
        expected = f"one of {shorten(list(choices))}, its letter, or its index from 0"
        raise ValueError(f"column `{field}`: got {shorten(value)}, expected {expected}.")
    letter = LETTER.fullmatch(answer_or_all(value)) if isinstance(value, str) else None
    if letter is None:
        remedy = "give the column `choices`, or use the reward `accuracy`"
        raise ValueError(f"column `{field}`: got {shorten(value)}, expected the letter of a choice; {remedy}.")
    return (letter[1] or letter[2]).upper()


def _named_choice(answer: str, choices: Sequence[str] | None) -> str | None:
    if choices:
        return match_choice(answer, choices)
    letter = LETTER.fullmatch(answer)
    return None if letter is None else (letter[1] or letter[2]).upper()


def _references(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(answer, str) for answer in value):
        return value
    raise ValueError(f"column `answers`: got {shorten(value)}, expected a list of texts with at least one.")


REWARDS = {
    "accuracy": accuracy,
    "choice": choice,
    "math": math_equal,
    "numeric_tolerance": numeric_tolerance,
    "vqa": vqa,
}
