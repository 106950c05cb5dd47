"""Mentions of regions in text: `<region:k>` stands for entry k of a row's `regions`, from 0."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal


MENTION = re.compile(r"<region:([0-9]{1,6})>")
ALMOST = re.compile(r"<\s{0,5}/?regions?\b[^<>]{0,20}>", re.IGNORECASE)


def write_mention(index: int) -> str:
    """Return `<region:index>`."""
    return f"<region:{index}>"


def find_mentions(text: str) -> list[int]:
    """Return the numbers that a text mentions, in its order, repeats included."""
    return [int(match[1]) for match in MENTION.finditer(text)]


def replace_mentions(text: str, replace: Callable[[int], str]) -> str:
    """Return a text with each mention replaced by what the function gives for its number."""
    return MENTION.sub(lambda match: replace(int(match[1])), text)


def unknown_mentions(text: str, count: int) -> list[int]:
    """Return the numbers mentioned that are no region of a row with `count` regions, each once, in order."""
    return sorted({index for index in find_mentions(text) if index >= count})


def mention_problem(text: str, count: int) -> str | None:
    """Return what is wrong with the mentions of a text, as one sentence with got, expected and what to do; None if nothing is.

    Args:
        text: any field of a row.
        count: how many regions the row has.
    """
    almost = [match[0] for match in ALMOST.finditer(text) if not MENTION.fullmatch(match[0])]
    if almost:
        return f"got {', '.join(almost)}, expected the form <region:0>. Write a mention so, or without the sharp brackets."
    unknown = unknown_mentions(text, count)
    if not unknown:
        return None
    known = {0: "no mention, for the row has no regions", 1: "<region:0>, for the row has one region"}.get(
        count, f"<region:0> to <region:{count - 1}>, for the row has {count} regions"
    )
    return f"got {', '.join(map(write_mention, unknown))}, expected {known}. Correct the number or add the region."


def reindex(
    texts: Sequence[str], *, keep: Iterable[int] = (), order: Literal["stored", "appearance"] = "stored"
) -> tuple[list[str], list[int]]:
    """Return the texts with their mentions numbered from 0 without gaps, and the old numbers in the new order.

    `[regions[k] for k in kept]` are the regions that go with the new texts. One call takes all
    texts of a row.

    Args:
        texts: fields of one row.
        keep: numbers that stay even though no text mentions them.
        order: `stored` keeps the order of the old numbers; `appearance` is the order of the first mentions,
            `keep` last.
    """
    used = list(dict.fromkeys([*(index for text in texts for index in find_mentions(text)), *keep]))
    kept = sorted(used) if order == "stored" else used
    renamed = {old: new for new, old in enumerate(kept)}
    return [replace_mentions(text, lambda index: write_mention(renamed[index])) for text in texts], kept
