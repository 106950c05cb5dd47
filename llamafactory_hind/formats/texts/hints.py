"""Reads a teacher's hint out of what it wrote (arXiv 2602.00400): tolerant, and None where there is none. Pure Python."""

import re


THOUGHT = re.compile(r"^.*</think>", re.DOTALL)  # reasoning models: what comes before the end of their thought
OPEN_THOUGHT = re.compile(r"<think>.*", re.DOTALL)  # a thought that was cut
# An opening tag, what follows up to the next opening tag at most, and the closing tag where there is one.
HINT = re.compile(r"<\s*hint\s*>((?:(?!<\s*hint\s*>).)*?)(?:(<\s*/\s*hint\s*>)|(?=<\s*hint\s*>)|\Z)", re.DOTALL | re.I)
TAG = re.compile(r"<\s*/?\s*hint\s*>", re.I)


def parse_hint(text: str, *, tags: bool, cut: bool = False) -> str | None:
    """Return the hint of a written text, without white space around it; None where it holds none.

    The last of several that are closed: a model may name the tags, or draft, before it writes. Without any, what follows the last
    opening tag.

    Args:
        text: what the teacher wrote.
        tags: a hint is between `<hint>` and `</hint>`; False takes the whole text, tags taken out if there are any.
        cut: the text was cut at its longest, so that only a closed hint is whole.
    """
    text = OPEN_THOUGHT.sub("", THOUGHT.sub("", text))
    if not tags and not TAG.search(text):
        return None if cut else text.strip() or None
    found = [(match[1].strip(), bool(match[2])) for match in HINT.finditer(text)]
    closed = [hint for hint, is_closed in found if hint and is_closed]
    open_ones = [] if cut else [hint for hint, is_closed in found if hint and not is_closed]
    return next(reversed(closed or open_ones), None)
