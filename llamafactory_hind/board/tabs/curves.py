"""The tab of curves: every number that runs log, while they train and afterwards."""

import json
import os
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..completions.events import CLEARED
from ..curves.live import LiveCurves
from ..curves.page import STYLE, axes
from ..curves.runs import roots_of
from ..curves.script import JUMP, OPEN, SCRIPT
from ..speech import both, speaking


TITLE = ("Curves", "曲线")
ORDER = 10
SECONDS = 3  # [ours] between two looks at the logs
LABELS = {
    "hind_curves_run": {"label": ("Run", "运行")},
    "hind_curves_compare": {"label": ("Compare with", "对比")},
    "hind_curves_smoothing": {"label": ("Smoothing", "平滑")},
    "hind_curves_axis": {"label": ("x axis", "横轴"), "choices": both(axes())},
    "hind_curves_tables": {"label": ("Tables", "表格")},
    "hind_curves_live": {"label": ("Live", "实时更新")},
    "hind_curves_refresh": {"value": ("List the runs again", "刷新列表")},
}


def build(engine: Any) -> dict[str, Any]:
    """Make the elements of the tab, and a timer that looks at the logs."""
    from gradio.context import Context

    live, language = LiveCurves(roots_of(os.environ)), engine.manager.get_elem_by_id("top.lang")
    said = {name: words["label"][0] for name, words in LABELS.items() if "label" in words}
    names = live.runs.names()
    with gr.Row():
        run = gr.Dropdown(names, value=names[0] if names else None, label=said["hind_curves_run"], scale=3)
        compare = gr.Dropdown(names, multiselect=True, label=said["hind_curves_compare"], scale=3)
        axis = gr.Dropdown(list(axes()), value="step", label=said["hind_curves_axis"], scale=1)
        smoothing = gr.Slider(0, 0.99, value=0.0, step=0.01, label=said["hind_curves_smoothing"], scale=2)
        with gr.Column(scale=1, min_width=120):
            tables = gr.Checkbox(label=said["hind_curves_tables"])
            following = gr.Checkbox(value=True, label=said["hind_curves_live"])
        refresh = gr.Button(LABELS["hind_curves_refresh"]["value"][0], scale=1)
    status = gr.HTML(elem_id="hind_curves_status")
    page = gr.HTML(STYLE, elem_id="hind_curves_page")
    jump = gr.Textbox(elem_id=JUMP, show_label=False, container=False)
    seen = gr.State(())
    timer = gr.Timer(SECONDS)

    def draw(one: Any, lang: str, others: Any, smooth: Any, x: Any, numbers: Any, before: Any) -> tuple[Any, Any, Any]:
        runs = [name for name in [one, *(others or [])] if name]
        with speaking(lang):
            found = live.draw(runs, smoothing=float(smooth), axis=x, tables=bool(numbers), before=before)
        return (gr.skip(), gr.skip(), gr.skip()) if found is None else found

    def tick(one: Any, *rest: Any) -> tuple[Any, ...]:
        names = [] if one else live.runs.names()
        if not names:
            return gr.skip(), gr.skip(), *draw(one, *rest)
        first = names[0]
        return gr.update(choices=names, value=first), gr.update(choices=names), *draw(first, *rest)

    def relist() -> tuple[Any, Any]:
        names = live.runs.names(anew=True)
        return gr.update(choices=names), gr.update(choices=names)

    quiet = {"show_progress": "hidden", "api_name": False, "queue": False}
    inputs, outputs = [run, language, compare, smoothing, axis, tables, seen], [status, page, seen]
    timer.tick(tick, inputs, [run, compare, *outputs], **quiet)
    for element in (run, language, compare, smoothing, axis, tables):
        element.change(draw, inputs, outputs, **quiet)
    following.change(lambda on: gr.Timer(active=bool(on)), [following], [timer], **quiet)
    refresh.click(relist, None, [run, compare], **quiet)
    Context.block.select(None, js=SCRIPT)  # of the tab that is being built
    return {
        JUMP: jump,
        "hind_curves_run": run,
        "hind_curves_compare": compare,
        "hind_curves_smoothing": smoothing,
        "hind_curves_axis": axis,
        "hind_curves_tables": tables,
        "hind_curves_live": following,
        "hind_curves_refresh": refresh,
    }


def connect(elements: Mapping[str, Any]) -> None:
    """Let a click on a point choose run and step in Completions, with no other filter, and go there."""
    fields = [name for name in CLEARED if name != "step"]
    names = ("run", "step", "view", "page", *fields)
    targets = [elements[f"hind_completions_{name}"] for name in names]

    def choose(asked: str) -> list[Any]:
        run, step = asked_for(asked)
        return [run, step, "groups", "1", *(CLEARED[name] for name in fields)]

    quiet = {"show_progress": "hidden", "api_name": False, "queue": False}
    elements[JUMP].input(choose, [elements[JUMP]], targets, **quiet).success(None, js=OPEN)


def asked_for(asked: str) -> tuple[str, str]:
    """Return the run and the step that a click said.

    Raises:
        ValueError: it is nothing that a click says.
    """
    said = json.loads(asked)
    if not isinstance(said, dict) or not isinstance(said.get("run"), str):
        raise ValueError(f"A click said {asked!r:.80}, expected a run and a step.")
    return said["run"], f"{float(said['step']):g}"
