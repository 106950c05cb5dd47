"""Scores of the choices of a question, from log-likelihoods; and which of them is right."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


NORMS = ("token", "sum", "char", "pmi")


def scores_of(result: Mapping[str, Sequence[float]], choices: Sequence[str], norm: str) -> list[float]:
    """Return one score a choice, higher is better.

    Args:
        result: `logprobs` (sums) and `tokens` of each choice; `prior`, its log-likelihood without picture and question, for `pmi`.
            Or `scores`, which are no likelihoods and stay as they are.
        choices: texts.
        norm: `token` (mean a token), `sum`, `char` (sum over characters of the text), `pmi` (sum - prior).

    Raises:
        ValueError: `pmi` without `prior`.
    """
    if "scores" in result:
        return list(result["scores"])
    sums = result["logprobs"]
    if norm == "token":
        return [value / count for value, count in zip(sums, result["tokens"], strict=True)]
    if norm == "char":
        return [value / max(len(text), 1) for value, text in zip(sums, choices, strict=True)]
    if norm == "pmi":
        if not result.get("prior"):
            raise ValueError("choice_norm: got pmi without the likelihoods of the bare choices; compute them first.")
        return [value - prior for value, prior in zip(sums, result["prior"], strict=True)]
    return list(sums)


def best_of(scores: Sequence[float]) -> int:
    """Return the index of the highest score, the first of equal ones.

    Raises:
        ValueError: a score is NaN, or there is none.
    """
    if not scores or any(map(math.isnan, scores)):
        raise ValueError(f"scores: got {list(scores)}, expected numbers.")
    return max(range(len(scores)), key=lambda index: (scores[index], -index))


def gold_index(fields: Mapping[str, Any], choices: Sequence[str]) -> int | None:
    """Return the index of the right choice: `answer_label`, or where `answer` is; None where the row does not say."""
    label, answer = fields.get("answer_label"), fields.get("answer")
    if isinstance(label, int) and not isinstance(label, bool):
        return label if 0 <= label < len(choices) else None
    return choices.index(answer) if isinstance(answer, str) and list(choices).count(answer) == 1 else None


def choice_problem(choices: Any, most: int | None) -> str | None:
    """Return what is wrong with the choices of a row, None where nothing is."""
    if not isinstance(choices, (list, tuple)) or len(choices) < 2:
        return f"choices: got {choices!r:.60}, expected a list of two texts or more. Write them."
    if not all(isinstance(choice, (str, list)) and choice for choice in choices):
        return "choices: got an empty one, expected texts. Write or remove it."
    if most is not None and len(choices) > most:
        return f"choices: got {len(choices)}, expected at most {most}, for each needs a letter. Use `choice_score: likelihood`."
    return None
