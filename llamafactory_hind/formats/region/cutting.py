"""LSKD's generative student: question, answer and rationale as one text, cut at random; the model goes on from the first part."""

import random

from ..media.fields import count_placeholders


def cut_text(text: str, *, seed: str) -> tuple[str, str]:
    """Return the first words of a text, and the others.

    The official code draws n = randint(1, words // 2), so that the first part is never more than half. There a mention can be cut
    in the middle; here it is one word. Words that hold placeholders of media stay in the first part.

    Args:
        text: words between blanks, two or more; mentions are `<region:k>`.
        seed: the place is drawn from it.
    """
    words = text.split(" ")
    count = random.Random(seed).randint(1, max(len(words) // 2, 1))
    media = [place + 1 for place, word in enumerate(words) if any(count_placeholders(word).values())]
    count = min(max([count, *media]), len(words) - 1)
    return " ".join(words[:count]), " ".join(words[count:])


def whole_text(question: str, answer: str, rationale: str | None) -> str:
    """Return `{question} Answer: {answer} Rationale: {rationale}`, as LSKD writes it."""
    return f"{question} Answer: {answer}" + ("" if rationale is None else f" Rationale: {rationale}")
