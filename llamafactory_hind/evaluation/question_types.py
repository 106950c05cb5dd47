"""Accuracy by question type of NExT-QA (CVPR 2021), IntentQA (ICCV 2023) and STAR (NeurIPS 2021).

Types, their merging and their groups are those of doc-doc/NExT-QA `eval_mc.py` and JoseponLee/IntentQA `eval_intentqa.py`; STAR
has no official code, and everyone reports percentages by type and their plain mean.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from .aokvqa import LETTERS


MERGED = {"TP": "TN"}  # questions about what came before count with those about what came next
NEXT_TYPES = ("CW", "CH", "TN", "TC", "DC", "DL", "DO")
NEXT_GROUPS = ("C", "T", "D")  # causal, temporal, descriptive: the first letter of the type
STAR_TYPES = ("Interaction", "Sequence", "Prediction", "Feasibility")
OWN_NAMES = ("mean", "overall")


def choice_accuracy(predictions: Sequence[Any], answers: Sequence[Any], types: Sequence[str]) -> dict[str, float]:
    """Return the accuracy of each type and of all questions.

    A prediction is right if it is the option of the answer: indices count from 0, and 4, "4" and "E" are one option (in the
    official code 4 and "4" differ). Other texts are compared as they are. None and NaN are wrong: the official code stops at
    a missing prediction.

    Args:
        predictions: option of each question.
        answers: right option of each question.
        types: type of each question. NExT-QA's TP counts as TN, and its types form the groups C, T and D, as in the official
            code. Any other name is a type of its own (the official codes stop at it, or drop its questions).

    Returns:
        type -> accuracy in 0..1, NExT-QA's groups, `mean` over the types, each counting as much (STAR), and `overall`, over the
        questions (NExT-QA, IntentQA). A type without questions is absent.

    Raises:
        ValueError: there is no question, the lengths differ, an answer is missing, or a type has a name of ours.
    """
    lengths = (len(predictions), len(answers), len(types))
    if not lengths[0] or len(set(lengths)) > 1:
        expected = "the same number of each, at least one"
        raise ValueError(f"predictions, answers, types: got {', '.join(map(str, lengths))}, expected {expected}.")
    hits: dict[str, list[bool]] = {}
    groups: dict[str, list[bool]] = {}
    for row, (prediction, answer, kind) in enumerate(zip(predictions, answers, types, strict=True)):
        gold = as_option(answer)
        if gold is None:
            raise ValueError(f"answers, row {row}: got {answer!r}, expected an option.")
        right = as_option(prediction) == gold
        name, *above = names_of_type(kind)
        hits.setdefault(name, []).append(right)
        for group in above:
            groups.setdefault(group, []).append(right)
    if clash := hits.keys() & {*groups, *OWN_NAMES}:
        raise ValueError(f"types: got {sorted(clash)}, names that the result needs for itself; rename the types.")
    by_type = {name: sum(hits[name]) / len(hits[name]) for name in in_order(hits)}
    by_group = {name: sum(groups[name]) / len(groups[name]) for name in NEXT_GROUPS if name in groups}
    rights = [right for row in hits.values() for right in row]
    overall = sum(rights) / len(rights)
    return {**by_type, **by_group, "mean": math.fsum(by_type.values()) / len(by_type), "overall": overall}


def names_of_type(kind: str) -> tuple[str, ...]:
    """Return the type under which a question counts, and NExT-QA's group above it."""
    name = MERGED.get(kind, kind)
    return (name, name[0]) if name in NEXT_TYPES else (name,)


def in_order(names: Any) -> list[str]:
    """Return types in the order of the papers' tables, others behind them by name."""
    known = [*NEXT_TYPES, *STAR_TYPES, *NEXT_GROUPS]
    return [name for name in known if name in names] + sorted(name for name in names if name not in known)


def as_option(value: Any) -> int | str | None:
    """Return an option as its index where it is one (`4`, `4.0`, `"4"`, `"E"`, `"(E)"`), else as text; None stays None, NaN is None."""
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, str):
        number = float(value)
        return None if math.isnan(number) else int(number) if number.is_integer() else str(value)
    words = value.strip()
    if re.fullmatch(r"[0-9]+", words):
        return int(words)
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", words)
    return LETTERS.index(letter[1]) if letter else words
