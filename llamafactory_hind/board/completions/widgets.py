"""The page's fields and events in gradio: the same in a tab of the Board and in `llamafactory-cli browse`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .export import KINDS
from .page import VIEWS, Browser, Look, View
from .query import ALL, GATES, HINTS, ORDERS, SHOWS, Query
from .script import SCRIPT
from .synthesis import STATES


TOTAL = "total"
EVERY = 0.7  # seconds between two looks while more is being read
QUIET = {"queue": False, "show_progress": "hidden", "api_name": False}
RUN_FIELDS = (
    "step",
    "split",
    "source",
    "show",
    "gate",
    "hint",
    "finish",
    "reward",
    "lowest",
    "highest",
    "row",
    "order",
)
PREFIX = "hind_completions_"
LABELS: dict[str, dict[str, tuple[str, str]]] = {
    "run": {"label": ("Run", "运行")},
    "other": {"label": ("Compare with", "对比")},
    "refresh": {"value": ("Refresh", "刷新")},
    "view": {"label": ("View", "视图")},
    "step": {"label": ("Step", "步")},
    "split": {"label": ("Split", "划分")},
    "source": {"label": ("Source", "来源")},
    "show": {"label": ("Learnt from", "是否训练")},
    "gate": {"label": ("Gate", "门控")},
    "hint": {"label": ("Hint", "提示")},
    "finish": {"label": ("Ended by", "结束原因")},
    "reward": {"label": ("Reward", "奖励")},
    "lowest": {"label": ("At least", "下限")},
    "highest": {"label": ("At most", "上限")},
    "row": {"label": ("Row", "样本"), "placeholder": ("its id, then Enter", "输入编号后回车")},
    "text": {
        "label": ("Text", "文本"),
        "placeholder": ("a part of a completion or prompt, then Enter", "回答或题目中的文字，回车搜索"),
    },
    "order": {"label": ("Order", "排序")},
    "state": {"label": ("State", "状态")},
    "reason": {"label": ("Reason", "原因")},
    "boxes": {"label": ("Boxes", "方框")},
    "clear": {"value": ("Clear filters", "清除筛选")},
    "back": {"value": ("◂ Back", "◂ 上一页")},
    "next": {"value": ("Next ▸", "下一页 ▸")},
    "page": {"label": ("Page", "页")},
    "stop": {"value": ("Stop search", "停止搜索")},
    "export_part": {"label": ("Export what is picked", "导出所选")},
    "kind": {"label": ("As", "格式")},
    "name": {"label": ("Name of the file", "文件名")},
    "export": {"value": ("Export", "导出")},
}
FIELDS = (
    *("run", "other", "view", *RUN_FIELDS, "text", "state", "reason", "boxes", "page"),
)  # what makes up a `View`, in this order


def labels() -> dict[str, dict[str, tuple[str, str]]]:
    """Return element -> its words, as `board.tabs` has them."""
    return {PREFIX + name: words for name, words in LABELS.items()}


def english(name: str) -> dict[str, str]:
    """Return the words of an element as arguments."""
    return {attribute: two[0] for attribute, two in LABELS[name].items()}


def view_of(values: Mapping[str, Any]) -> tuple[View, str]:
    """Return what a session has chosen, and one line about a field that cannot be read; it then counts as empty."""
    wrong: list[str] = []

    def read(name: str, kind: Callable[[str], Any]) -> Any:
        text = str(values.get(name) or "").strip()
        try:
            return kind(text) if text else None
        except ValueError:
            wrong.append(f"{english(name)['label']}: got {text!r:.40}, expected a number; it is left out.")
            return None

    def chosen(name: str) -> str:
        return str(values.get(name) or ALL)

    reward = chosen("reward")
    query = Query(
        split=chosen("split"),
        step=read("step", int),
        source=chosen("source"),
        show=chosen("show"),
        gate=chosen("gate"),
        hint=chosen("hint"),
        finish=chosen("finish"),
        reward="" if reward in (TOTAL, ALL) else reward,
        lowest=read("lowest", float),
        highest=read("highest", float),
        row=str(values.get("row") or "").strip(),
        text=str(values.get("text") or ""),
        order=values.get("order") if values.get("order") in ORDERS else ORDERS[0],
    )
    reason = chosen("reason")
    return (
        View(
            run=str(values.get("run") or ""),
            other=str(values.get("other") or ""),
            view=str(values.get("view") or VIEWS[0]),
            query=query,
            page=int(read("page", float) or 1),
            boxes=bool(values.get("boxes", True)),
            state=chosen("state"),
            reason="" if reason == ALL else reason,
        ),
        " ".join(wrong),
    )


@dataclass
class Widgets:
    """The elements, by name without `hind_completions_`."""

    browser: Browser
    elements: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return an element."""
        return self.elements[name]

    def named(self) -> dict[str, Any]:
        """Return the elements as the Board's manager knows them; `page` elements without words are left out."""
        return {PREFIX + name: element for name, element in self.elements.items() if name in LABELS}


def build(browser: Browser) -> Widgets:
    """Make the elements where the page is built, and bind their events."""
    made: dict[str, Any] = {}

    def menu(name: str, choices: Any = (ALL,), **more: Any) -> None:
        first = more.pop("value", next(iter(choices), None))
        made[name] = gr.Dropdown(
            choices=list(choices),
            value=first,
            elem_id=PREFIX + name,
            allow_custom_value=True,  # choices change while the page is open; what is chosen is looked up, never opened
            **english(name),
            **more,
        )

    def text(name: str, **more: Any) -> None:
        made[name] = gr.Textbox(elem_id=PREFIX + name, max_lines=1, **english(name), **more)

    def button(name: str, **more: Any) -> None:
        made[name] = gr.Button(elem_id=PREFIX + name, size="sm", **english(name), **more)

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
        made["view"] = gr.Radio(list(VIEWS), value=VIEWS[0], elem_id=PREFIX + "view", scale=4, **english("view"))
        text("page", value="1", min_width=60, scale=1)
        made["boxes"] = gr.Checkbox(value=True, elem_id=PREFIX + "boxes", min_width=90, scale=1, **english("boxes"))
    with gr.Row():
        button("back")
        button("next")
        button("clear")
        button("stop", visible=False)
    made["status"] = gr.HTML("", elem_id=PREFIX + "status", padding=False)
    made["html"] = gr.HTML("", elem_id=PREFIX + "html", padding=False)
    with gr.Accordion(open=False, elem_id=PREFIX + "export_part", **english("export_part")) as part:
        made["export_part"] = part
        with gr.Row():
            made["kind"] = gr.Radio(list(KINDS), value="jsonl", elem_id=PREFIX + "kind", **english("kind"))
            text("name", value="selection")
            button("export")
        made["exported"] = gr.HTML("", elem_id=PREFIX + "exported", padding=False)
    made["jump"] = gr.Textbox(elem_id=PREFIX + "jump", elem_classes="hc-jump", show_label=False, container=False)
    made["timer"] = gr.Timer(EVERY, active=False)
    widgets = Widgets(browser, made)
    _bind(widgets)
    return widgets


def start(widgets: Widgets, event: Callable[..., Any]) -> None:
    """Show the page when an event comes: the page was loaded, or the tab chosen; the keys of the page work from then on."""
    event(_first(widgets), _inputs(widgets), _outputs(widgets), js=SCRIPT, **QUIET)


def _inputs(widgets: Widgets) -> list[Any]:
    return [widgets[name] for name in FIELDS]


MENUS = ("split", "source", "finish", "reward")
SHOWN = ("html", "status", "timer", "page", "stop", "state", "reason", *MENUS)


def _outputs(widgets: Widgets) -> list[Any]:
    return [widgets[name] for name in ("run", "other", *SHOWN)]


def _first(widgets: Widgets) -> Callable[..., list[Any]]:
    """Return what makes the menus of runs anew, and shows the page."""

    def show(*values: Any) -> list[Any]:
        given = dict(zip(FIELDS, values, strict=True))
        names = widgets.browser.names(anew=True)
        run = given["run"] if given["run"] in names else next(iter(names), None)
        look, told = _look(widgets, given | {"run": run})
        menus = [gr.update(choices=names, value=run), gr.update(choices=["", *widgets.browser.run_names()])]
        return [*menus, *_shown(look, told, given)]

    return show


def _look(widgets: Widgets, given: Mapping[str, Any]) -> tuple[Look, str]:
    view, wrong = view_of(given)
    look = widgets.browser.look(view)
    return look, f"{look.status} {wrong}".strip()


def _status(text: str) -> str:
    from .render import escape

    return f'<div class="hc-line" role="status" aria-live="polite">{escape(text)}</div>'


def _shown(look: Look, told: str, given: Mapping[str, Any], *, html: bool = True) -> list[Any]:
    """Return the updates of `SHOWN`."""
    is_synth = look.kind == "synth"

    def menu(name: str) -> Any:
        offered = [TOTAL if name == "reward" else ALL, *look.choices.get(name, [])]
        value = given.get(name) if given.get(name) in offered else offered[0]
        return gr.update(choices=offered, value=value)

    reason = [ALL, *look.choices.get("reason", [])]
    return [
        look.html if html else gr.skip(),
        _status(told),
        gr.update(active=look.busy),
        str(look.page),
        gr.update(visible=look.busy and bool(given.get("text"))),
        gr.update(visible=is_synth),
        gr.update(
            visible=is_synth, choices=reason, value=given.get("reason") if given.get("reason") in reason else ALL
        ),
        *(gr.skip() if not look.choices else menu(name) for name in MENUS),
    ]


def _bind(widgets: Widgets) -> None:
    inputs, shown = _inputs(widgets), [widgets[name] for name in SHOWN]

    def render(*values: Any) -> list[Any]:
        given = dict(zip(FIELDS, values, strict=True))
        look, told = _look(widgets, given)
        return _shown(look, told, given)

    def from_the_first(*values: Any) -> list[Any]:
        return render(*values[:-1], "1")

    def turn(by: int) -> Callable[..., list[Any]]:
        def turned(*values: Any) -> list[Any]:
            view, _ = view_of(dict(zip(FIELDS, values, strict=True)))
            return render(*values[:-1], str(max(view.page + by, 1)))

        return turned

    def tick(*values: Any) -> list[Any]:
        given = dict(zip(FIELDS, values, strict=True))
        look, told = _look(widgets, given)
        return _shown(look, told, given, html=not look.full)

    for name in (
        "run",
        "other",
        "view",
        "split",
        "source",
        "show",
        "gate",
        "hint",
        "finish",
        "reward",
        "order",
        "state",
        "reason",
    ):
        widgets[name].input(from_the_first, inputs, shown, **QUIET)
    for name in ("step", "lowest", "highest", "row", "text"):
        widgets[name].submit(from_the_first, inputs, shown, **QUIET)
    widgets["boxes"].input(render, inputs, shown, **QUIET)
    widgets["page"].submit(render, inputs, shown, **QUIET)
    widgets["back"].click(turn(-1), inputs, shown, **QUIET)
    widgets["next"].click(turn(1), inputs, shown, **QUIET)
    widgets["timer"].tick(tick, inputs, shown, **QUIET)
    widgets["refresh"].click(_first(widgets), inputs, _outputs(widgets), **QUIET)
    _bind_clear(widgets)
    _bind_jump(widgets)
    _bind_export(widgets)

    def stop(*values: Any) -> list[Any]:
        view, _ = view_of(dict(zip(FIELDS, values, strict=True)))
        widgets.browser.stop_search(view)
        return render(*values)

    widgets["stop"].click(stop, inputs, shown, **QUIET)


CLEARED = {**dict.fromkeys(RUN_FIELDS, ALL), "text": "", "state": ALL, "reason": ALL}
CLEARED |= dict.fromkeys(("step", "lowest", "highest", "row"), "") | {"reward": TOTAL, "order": ORDERS[0]}


def _bind_clear(widgets: Widgets) -> None:
    fields = [name for name in CLEARED if name not in SHOWN]

    def clear(*values: Any) -> list[Any]:
        given = {**dict(zip(FIELDS, values, strict=True)), **CLEARED, "page": "1"}
        look, told = _look(widgets, given)
        return [*(CLEARED[name] for name in fields), *_shown(look, told, given)]

    outputs = [*(widgets[name] for name in fields), *(widgets[name] for name in SHOWN)]
    widgets["clear"].click(clear, _inputs(widgets), outputs, **QUIET)


def _bind_jump(widgets: Widgets) -> None:
    """Let a click on a name in the page set the fields that it says: the row and the view, no others."""

    def jump(asked: str, *values: Any) -> list[Any]:
        given = dict(zip(FIELDS, values, strict=True))
        try:
            targets = json.loads(asked)
            row, view = str(targets["row"]), targets["view"] if targets["view"] in VIEWS else VIEWS[0]
        except (ValueError, TypeError, KeyError):
            row, view = given["row"], given["view"]
        given |= {"row": row, "view": view, "step": "", "page": "1"}
        look, told = _look(widgets, given)
        return [row, view, "", *_shown(look, told, given)]

    outputs = [widgets["row"], widgets["view"], widgets["step"], *(widgets[name] for name in SHOWN)]
    widgets["jump"].input(jump, [widgets["jump"], *_inputs(widgets)], outputs, **QUIET)


def _bind_export(widgets: Widgets) -> None:
    def export(name: str, kind: str, *values: Any) -> str:
        view, _ = view_of(dict(zip(FIELDS, values, strict=True)))
        return _status(widgets.browser.export(view, name or "", kind or ""))

    inputs = [widgets["name"], widgets["kind"], *_inputs(widgets)]
    widgets["export"].click(export, inputs, [widgets["exported"]], **QUIET)
