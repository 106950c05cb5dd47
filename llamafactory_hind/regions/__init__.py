"""Regions of pictures: boxes in the terms of every model, mentions in text, drawing. No torch; Pillow only once drawing is used.

`conventions` is the table (one entry a family of models), `coordinates` turns boxes into a model's
numbers and text and back, `checks` says what is wrong with a box, `tags` and `token_lists` read
mentions, `inline` boxes within text, `palette`, `drawing` and `marks` draw.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .checks import check_box, clamp_box
from .conventions import CONVENTIONS, Convention, get_convention
from .coordinates import format_box, from_model, parse_boxes, to_model
from .geometry import Box, box_area, box_iou
from .inline import InlineBox, replace_inline, write_inline
from .palette import color
from .tags import find_mentions, mention_problem, reindex, replace_mentions, unknown_mentions, write_mention
from .token_lists import read_tokens


if TYPE_CHECKING:
    from .drawing import crop, draw_boxes, draw_polygons, focal_box
    from .marks import draw_marks


_NEEDS_PILLOW = {
    "crop": "drawing",
    "draw_boxes": "drawing",
    "draw_polygons": "drawing",
    "focal_box": "drawing",
    "draw_marks": "marks",
}

__all__ = [
    "CONVENTIONS",
    "Box",
    "Convention",
    "InlineBox",
    "box_area",
    "box_iou",
    "check_box",
    "clamp_box",
    "color",
    "crop",
    "draw_boxes",
    "draw_marks",
    "draw_polygons",
    "find_mentions",
    "focal_box",
    "format_box",
    "from_model",
    "get_convention",
    "mention_problem",
    "parse_boxes",
    "read_tokens",
    "reindex",
    "replace_inline",
    "replace_mentions",
    "to_model",
    "unknown_mentions",
    "write_inline",
    "write_mention",
]


def __getattr__(name: str) -> Any:
    """Import what draws when it is first asked for."""
    if name in _NEEDS_PILLOW:
        return getattr(import_module(f".{_NEEDS_PILLOW[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
