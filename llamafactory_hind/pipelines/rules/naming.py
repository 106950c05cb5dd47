"""Hints that name the answer they should lead to (rules are ours): words of the answer, or the letter of its choice."""

import re
from collections.abc import Sequence

from ...formats.prompts.wording import CHOICE_LETTERS
from .golds import parts_of, says_gold


TAGS = re.compile(r"</?answer>")
WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # scripts without spaces between words
# Nobody can lead to these without their words standing somewhere in a sentence.
TOO_COMMON = frozenset({"yes", "no", "true", "false", "none", "both", "是", "否", "不是", "对", "错", "有", "没有"})


def names_answer(hint: str, answers: Sequence[str], *, question: str, choices: Sequence[str] | None) -> bool:
    """Say whether a hint gives the answer away in so many words.

    Looked for are the answer, as whole words after VQA normalisation (`two` is `2`), and, for a choice, its text and its letter as in
    `(B)`, `option B`, `answer: B`. Of an answer of several parts, all of them, in any order; a hint may name some. Not looked for: yes, no and the like; a bare letter; an answer of one Chinese character; and, without
    choices, an answer that is in the question (`Is the cat or the dog larger?`).

    Args:
        hint: what the student will be shown.
        answers: gold answers; a letter stands for its choice.
        question: the last turn.
        choices: texts of a multiple choice question.
    """
    choices = list(choices or [])
    golds = [TAGS.sub("", answer).strip() for answer in answers]
    letters = {gold.upper() for gold in golds if re.fullmatch("[A-Za-z]", gold)}
    letters |= {CHOICE_LETTERS[choices.index(gold)] for gold in golds if gold in choices[: len(CHOICE_LETTERS)]}
    golds += [choices[place] for place in map(CHOICE_LETTERS.index, sorted(letters)) if place < len(choices)]
    words = [gold for gold in golds if not _too_common(gold) and (choices or not _holds(question, gold))]
    return any(_holds(hint, gold) for gold in words) or any(_names_letter(hint, letter) for letter in letters)


def _too_common(gold: str) -> bool:
    is_letter = len(gold) == 1 and not gold.isdigit()
    return is_letter or gold.casefold().strip(" .。") in TOO_COMMON


def _holds(text: str, gold: str) -> bool:
    if WIDE.search(gold):
        return all(part.casefold() in text.casefold() for part in parts_of(gold) or (gold,))
    return says_gold(text, [gold], in_order=False)


def _names_letter(hint: str, letter: str) -> bool:
    before = r"(?:\b(?:option|choice|answer)s?(?:\s+is)?|选项|答案(?:是|为)?)\s*[:：]?\s*[\"'*(（]*"
    return bool(re.search(rf"[(（]{letter}[)）]|(?i:{before}){letter}(?![A-Za-z'\u2019])", hint))
