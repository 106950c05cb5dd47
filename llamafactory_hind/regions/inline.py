"""Boxes within text, in pixels of the original picture: `<box:64,48,320,240>`, until a model's own form takes their place.

`<box:1:64,48,320,240:dog>` names the picture (from 0, the first by default) and what is in the box.
Rows of `formatting: region` are written so, and so may be what is typed in a chat; a region-aware
template then writes each box as its model does. [ours]
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .checks import Corners, shorten
from .geometry import Box


_NUMBER = r"(-?[0-9]{1,7}(?:\.[0-9]{1,17})?)"
_COMMA = r"\s{0,3},\s{0,3}"
INLINE = re.compile(rf"<box:(?:([0-9]{{1,4}}):)?\s{{0,3}}{_COMMA.join([_NUMBER] * 4)}\s{{0,3}}(?::([^<>\r\n]*))?>")
ALMOST = re.compile(r"<box:[^<>]{0,120}>?")
EXAMPLE = "<box:64,48,320,240>, <box:0:64,48,320,240> or <box:0:64,48,320,240:dog>"


@dataclass(frozen=True)
class InlineBox:
    """A box in a text.

    Attributes:
        image: number of its picture in the row, from 0.
        box: (x1, y1, x2, y2) in pixels of the original picture.
        label: what is in it, None where the text does not say.
    """

    image: int
    box: Corners
    label: str | None = None


def label_problem(label: str) -> str | None:
    """Return what is wrong with the label of a box, as one sentence; None if nothing is."""
    if label.strip() and not re.search(r"[<>\r\n]", label):
        return None
    return f"got {shorten(label)}, expected text of one line without < and >. Write another label, or none."


def write_inline(box: Box, *, image: int = 0, label: str | None = None) -> str:
    """Return `<box:image:x1,y1,x2,y2:label>`, whole numbers without a decimal point.

    Raises:
        ValueError: the label has a line break, `<` or `>`.
    """
    problem = None if label is None else label_problem(label)
    if problem is not None:
        raise ValueError(f"label: {problem}")
    numbers = ",".join(_number(float(value)) for value in box)
    return f"<box:{image}:{numbers}{'' if label is None else f':{label}'}>"


def has_inline(text: str) -> bool:
    """Say whether a text holds an inline box, or what looks like one."""
    return "<box:" in text


def replace_inline(text: str, replace: Callable[[InlineBox], str]) -> str:
    """Return a text with each inline box replaced by what the function gives for it.

    Raises:
        ValueError: something begins like an inline box and is none; what the function raises.
    """
    wrong = [match[0] for match in ALMOST.finditer(text) if not INLINE.fullmatch(match[0])]
    if wrong:
        raise ValueError(f"box: got {shorten(wrong[0])}, expected {EXAMPLE}. Correct it, or write it without `<box:`.")
    return INLINE.sub(lambda match: replace(_read(match)), text)


def plain_boxes(text: str) -> str:
    """Return a text with inline boxes as `dog [64, 48, 320, 240]`, for a reader whose own form is not known; others stay."""

    def plain(match: re.Match[str]) -> str:
        one = _read(match)
        return f"{one.label or ''} [{', '.join(map(_number, one.box))}]".lstrip()

    return INLINE.sub(plain, text)


def _read(match: re.Match[str]) -> InlineBox:
    image, left, top, right, bottom, label = match.groups()
    box = (float(left), float(top), float(right), float(bottom))
    return InlineBox(int(image or 0), box, (label or "").strip() or None)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(round(value, 4))
