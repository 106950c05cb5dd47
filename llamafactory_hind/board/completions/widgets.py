"""The elements of the page in gradio: the same in a tab of the Board and in `llamafactory-cli browse`."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from .choosing import PREFIX, TOTAL, words
from .events import EVERY, Widgets, bind
from .export import KINDS
from .page import Browser
from .query import ALL, GATES, HINTS, ORDERS, SHOWS
from .synthesis import STATES
from .view import VIEWS


def build(browser: Browser, language: Any = None, *, fixed: str = "en") -> Widgets:
    """Make the elements where the page is built, and bind their events.

    Args:
        browser: that is shown.
        language: the element that says in which language; None is a page in `fixed`.
        fixed: `en` or `zh`.
    """
    made: dict[str, Any] = {"language": gr.Textbox(fixed, visible=False) if language is None else language}

    def menu(name: str, values: Any = (ALL,), **more: Any) -> None:
        made[name] = gr.Dropdown(
            value=next(iter(values), None),
            elem_id=PREFIX + name,
            allow_custom_value=True,  # choices change while the page is open; what is chosen is looked up, never opened
            **{"choices": list(values), **words(name, fixed)},
            **more,
        )

    def text(name: str, **more: Any) -> None:
        made[name] = gr.Textbox(elem_id=PREFIX + name, max_lines=1, **words(name, fixed), **more)

    def button(name: str, **more: Any) -> None:
        made[name] = gr.Button(elem_id=PREFIX + name, size="sm", **words(name, fixed), **more)

    with gr.Row():
        menu("run", (), scale=3)
        menu("other", ("",), scale=3)
        button("refresh", scale=1)
    with gr.Row():
        text("step", scale=1, min_width=80)
        menu("split", scale=1, min_width=110)
        menu("source", scale=1, min_width=110)
        menu("show", SHOWS, scale=1, min_width=130)
        menu("gate", GATES, scale=1, min_width=110)
        menu("hint", HINTS, scale=1, min_width=150)
        menu("finish", scale=1, min_width=110)
    with gr.Row():
        menu("reward", (TOTAL,), scale=1, min_width=130)
        text("lowest", scale=1, min_width=80)
        text("highest", scale=1, min_width=80)
        text("row", scale=2, min_width=150)
        text("text", scale=3, min_width=200)
        menu("order", ORDERS, scale=2, min_width=160)
    with gr.Row():
        menu("state", (ALL, *STATES), scale=1, visible=False)
        menu("reason", (ALL,), scale=3, visible=False)
    with gr.Row():
        made["view"] = gr.Radio(value=VIEWS[0], elem_id=PREFIX + "view", scale=4, **words("view", fixed))
        text("page", value="1", min_width=60, scale=1)
        made["boxes"] = gr.Checkbox(
            value=True, elem_id=PREFIX + "boxes", min_width=90, scale=1, **words("boxes", fixed)
        )
    with gr.Row():
        button("back")
        button("next")
        button("clear")
        button("stop", visible=False)
    made["status"] = gr.HTML("", elem_id=PREFIX + "status", padding=False)
    made["html"] = gr.HTML("", elem_id=PREFIX + "html", padding=False)
    _export_part(made, text, button, fixed)
    made["jump"] = gr.Textbox(elem_id=PREFIX + "jump", elem_classes="hc-jump", show_label=False, container=False)
    made["timer"] = gr.Timer(EVERY, active=False)
    widgets = Widgets(browser, made)
    bind(widgets)
    return widgets


def _export_part(made: dict[str, Any], text: Callable[..., None], button: Callable[..., None], fixed: str) -> None:
    """Make the part that writes what is chosen into a file, folded."""
    with gr.Accordion(open=False, elem_id=PREFIX + "export_part", **words("export_part", fixed)) as part:
        made["export_part"] = part
        with gr.Row():
            made["kind"] = gr.Radio(list(KINDS), value="jsonl", elem_id=PREFIX + "kind", **words("kind", fixed))
            text("name", value="selection")
            button("export")
        made["exported"] = gr.HTML("", elem_id=PREFIX + "exported", padding=False)
