"""The tab that shows what models wrote: the page of `board.completions` over the runs below the Board's folder."""

from typing import Any

from ..completions.choosing import labels
from ..completions.events import start
from ..completions.page import Browser
from ..completions.places import board_roots
from ..completions.widgets import build as build_widgets


TITLE = ("Completions", "回答浏览")
ORDER = 20
LABELS = labels()


def build(engine: Any) -> dict[str, Any]:
    """Make the elements of the tab; it reads nothing before it is chosen."""
    from gradio.context import Context

    widgets = build_widgets(Browser(board_roots()), engine.manager.get_elem_by_id("top.lang"))
    start(widgets, Context.block.select)  # the tab that is being built
    return widgets.named()
