"""Gold answers of a row, and how well a text agrees with them."""

from collections.abc import Sequence

from .vqa import normalize_answer, vqa_accuracy


FULL_AGREEMENT = 3  # references that must agree on an answer for it to score 1 in VQA


def gold_answers(answer: str, references: Sequence[str] | None) -> list[str]:
    """Return the answer, and the references that enough people agree on to score 1."""
    references = [reference for reference in references or [] if isinstance(reference, str)]
    agreed = [text for text in dict.fromkeys(references) if references.count(text) >= FULL_AGREEMENT]
    return list(dict.fromkeys([answer, *agreed]))


def mentions(text: str, answers: Sequence[str]) -> bool:
    """Say whether an answer occurs in the text, as whole words after VQA normalisation."""
    words = f" {normalize_answer(text)} "
    normalized = (normalize_answer(answer) for answer in answers)
    return any(answer and f" {answer} " in words for answer in normalized)


def soft_score(prediction: str, answer: str, references: Sequence[str] | None) -> float:
    """Return the VQA accuracy; without several references, whether the normalised answers are equal."""
    if references is not None and len(references) > 1:
        return vqa_accuracy(prediction, references)
    return float(normalize_answer(prediction) == normalize_answer(answer))
