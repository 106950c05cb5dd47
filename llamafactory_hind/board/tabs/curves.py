"""The tab of curves: every number that runs log, while they train and afterwards."""

import os
from typing import Any

import gradio as gr

from ..curves.live import LiveCurves
from ..curves.page import axes
from ..curves.runs import roots_of


TITLE = ("Curves", "曲线")
ORDER = 10
SECONDS = 3  # [ours] between two looks at the logs
LABELS = {
    "hind_curves_run": {"label": ("Run", "运行")},
    "hind_curves_compare": {"label": ("Compare with", "对比")},
    "hind_curves_smoothing": {"label": ("Smoothing", "平滑")},
    "hind_curves_axis": {"label": ("x axis", "横轴")},
    "hind_curves_tables": {"label": ("Tables", "表格")},
    "hind_curves_live": {"label": ("Live", "实时更新")},
    "hind_curves_refresh": {"value": ("List the runs again", "刷新列表")},
}


def build(engine: Any) -> dict[str, Any]:
    """Make the elements of the tab, and a timer that looks at the logs."""
    live = LiveCurves(roots_of(os.environ))
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
    page = gr.HTML(elem_id="hind_curves_page")
    seen = gr.State(())
    timer = gr.Timer(SECONDS)

    def draw(one: Any, others: Any, smooth: Any, x: Any, numbers: Any, before: Any) -> tuple[Any, Any, Any]:
        runs = [name for name in [one, *(others or [])] if name]
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
    inputs, outputs = [run, compare, smoothing, axis, tables, seen], [status, page, seen]
    timer.tick(tick, inputs, [run, compare, *outputs], **quiet)
    for element in (run, compare, smoothing, axis, tables):
        element.change(draw, inputs, outputs, **quiet)
    following.change(lambda on: gr.Timer(active=bool(on)), [following], [timer], **quiet)
    refresh.click(relist, None, [run, compare], **quiet)
    return {
        "hind_curves_run": run,
        "hind_curves_compare": compare,
        "hind_curves_smoothing": smoothing,
        "hind_curves_axis": axis,
        "hind_curves_tables": tables,
        "hind_curves_live": following,
        "hind_curves_refresh": refresh,
    }
