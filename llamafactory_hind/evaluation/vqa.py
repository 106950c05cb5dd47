"""The official VQA accuracy (VQA v2, OK-VQA), equal to GT-Vision-Lab/VQA `vqaEval.py` in every case, its oddities included.

Ten people answered each question; a prediction scores by how many of them agree with it.
"""

import re
from collections.abc import Sequence


PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(NUMBER_WORDS)} | {"none": "0"}
ARTICLES = frozenset({"a", "an", "the"})
# The official pattern tries to spare periods after a digit, by a lookahead that is always true: only what follows counts.
PERIOD = re.compile(r"\.(?![0-9])")
# The official code passes a flag where `re.sub` takes a count: it removes this many periods at most.
PERIODS_REMOVED = int(re.UNICODE)
COMMA_IN_NUMBER = re.compile(r"[0-9],[0-9]")

# Written without any apostrophe in the answer, with it after normalisation.
SPELT_WITHOUT = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hasn't",
    "haven't",
    "he'd",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "isn't",
    "it'd",
    "it'll",
    "ma'am",
    "mightn't",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "shan't",
    "should've",
    "shouldn't",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'll",
    "someone's",
    "something'd",
    "something'll",
    "that's",
    "there'd",
    "there're",
    "there's",
    "they'd",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "y'all",
    "you'd",
    "you'll",
    "you're",
    "you've",
]
# Two apostrophes, written with one of them: both forms are corrected.
SPELT_WITH_ONE = [
    "couldn't've",
    "hadn't've",
    "he'd've",
    "it'd've",
    "mightn't've",
    "she'd've",
    "shouldn't've",
    "somebody'd've",
    "someone'd've",
    "something'd've",
    "there'd've",
    "they'd've",
    "we'd've",
    "who'd've",
    "wouldn't've",
    "y'all'll",
    "you'd've",
]
# What follows no rule: the first line removes an apostrophe, as the official table does.
SPELT_OTHERWISE = {
    "somebody'd": "somebodyd",
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in SPELT_WITHOUT}
    for word in SPELT_WITH_ONE:
        first, second, third = word.split("'")
        table |= {f"{first}'{second}{third}": word, f"{first}{second}'{third}": word}
    return table | SPELT_OTHERWISE


CONTRACTIONS = _contractions()


def strip_punctuation(text: str) -> str:
    """Remove punctuation, or put a space in its place where it is between two words."""
    has_number_comma = COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text  # anywhere in the text, for all its occurrences
        stripped = stripped.replace(mark, "" if beside_space or has_number_comma else " ")
    return PERIOD.sub("", stripped, count=PERIODS_REMOVED)


def normalize_words(text: str) -> str:
    """Lower the case, write number words as digits, drop articles, put apostrophes into contractions."""
    words = (DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def normalize_answer(text: str) -> str:
    """Return an answer as the official evaluation compares it."""
    return normalize_words(strip_punctuation(_one_line(text)))


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Return the mean over references of `min(1, matches among the others / 3)`.

    Both sides are normalised only where the references are not all identical, as the official code does.

    Args:
        prediction: the model's answer.
        answers: the references, usually ten; the same answer counts as often as it is given.

    Returns:
        Accuracy in 0..1.

    Raises:
        ValueError: there is no reference.
    """
    if not answers:
        raise ValueError("answers: got none, expected the references of the question (ten in VQA and OK-VQA).")
    prediction = _one_line(prediction)
    references = [_one_line(answer) for answer in answers]
    if len(set(references)) > 1:
        prediction = normalize_words(strip_punctuation(prediction))
        references = [normalize_words(strip_punctuation(reference)) for reference in references]
    matches = sum(reference == prediction for reference in references)
    others = (matches - (reference == prediction) for reference in references)  # leave one out
    return sum(min(1.0, count / 3) for count in others) / len(references)


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
