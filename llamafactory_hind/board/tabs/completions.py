"""The tab that shows what models wrote."""

from typing import Any

import gradio as gr


TITLE = ("Completions", "回答浏览")
ORDER = 20
NOTHING = (
    "Nothing here yet. Start a run in Train.",
    "这里还没有内容。请先在 Train 页启动一次训练。",
)
LABELS = {"hind_completions_state": {"value": NOTHING}}


def build(engine: Any) -> dict[str, Any]:
    """Make the elements of the tab."""
    return {"hind_completions_state": gr.HTML(NOTHING[0], elem_id="hind_completions_state")}
