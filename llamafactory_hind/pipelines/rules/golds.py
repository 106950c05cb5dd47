"""Texts that say a gold answer, also one of several parts: all of them, or it is not the answer (rule is ours).

VQA's normalisation takes the commas away: of `1,2` it makes `12`. So a list or a set is looked for part by part.
"""

import re
from collections.abc import Sequence

from ...evaluation.gold_answers import mentions
from ...evaluation.vqa import normalize_answer
from ...rewards.gold import read_gold


SEVERAL = ("list", "set")  # kinds of gold texts with parts


def parts_of(gold: str) -> tuple[str, ...]:
    """Return the parts of a gold text; of one that is no list or set, none."""
    read = read_gold(gold)
    return read.parts if read.kind in SEVERAL else ()


def says_gold(text: str, golds: Sequence[str], *, in_order: bool = True) -> bool:
    """Say whether a gold answer occurs in a text, as whole words after VQA normalisation.

    Args:
        text: any.
        golds: gold answers; one that agrees is enough.
        in_order: the parts of a list must come in its order; those of a set may come in any.
    """
    return any(_says(text, gold, in_order=in_order) for gold in golds)


def _says(text: str, gold: str, *, in_order: bool) -> bool:
    parts = parts_of(gold)
    if not parts:
        return mentions(text, [gold])
    if not any("," in part for part in parts):
        text = re.sub(r",(?=\S)", ", ", text)  # else its numbers would become one
    left = f" {normalize_answer(text)} "
    ordered = in_order and read_gold(gold).kind == "list"
    for part in map(normalize_answer, parts):
        place = left.find(f" {part} ") if part else -1
        if place < 0:
            return False
        end = place + len(part) + 1  # a part that occurs twice must be said twice
        left = left[end:] if ordered else left[: place + 1] + left[end:]
    return True
