"""What the elements of the page do when they are used."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..speech import pairs, speaking
from .choosing import FIELDS, LABELS, PREFIX, RUN_FIELDS, TOTAL, view_of
from .page import Browser
from .query import ALL, ORDERS
from .render import escape
from .script import SCRIPT
from .view import VIEWS, Look


EVERY = 0.7  # [ours] seconds between two looks while more is being read
QUIET = {"queue": False, "show_progress": "hidden", "api_name": False}


@dataclass
class Widgets:
    """The elements, by name without `hind_completions_`."""

    browser: Browser
    elements: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return an element."""
        return self.elements[name]

    def named(self) -> dict[str, Any]:
        """Return the elements as the Board's manager knows them; those without words are left out."""
        return {PREFIX + name: element for name, element in self.elements.items() if name in LABELS}


def start(widgets: Widgets, event: Callable[..., Any]) -> None:
    """Show the page when an event comes: the page was loaded, or the tab chosen; the keys of the page work from then on."""
    event(_first(widgets), _inputs(widgets), _outputs(widgets), js=SCRIPT, **QUIET)


def _inputs(widgets: Widgets) -> list[Any]:
    return [widgets[name] for name in FIELDS]


MENUS = ("split", "source", "finish", "reward")
TYPED = ("step", "lowest", "highest", "row", "text")  # count when Enter is pressed; menus count when they change
CHANGED = ("run", "other", "view", *(name for name in RUN_FIELDS if name not in TYPED), "state", "reason")
SHOWN = ("html", "status", "timer", "page", "stop", "state", "reason", *MENUS)


def _outputs(widgets: Widgets) -> list[Any]:
    return [widgets[name] for name in ("run", "other", *SHOWN)]


def _first(widgets: Widgets) -> Callable[..., list[Any]]:
    """Return what makes the menus of runs anew, and shows the page."""

    def show(*values: Any) -> list[Any]:
        given = dict(zip(FIELDS, values, strict=True))
        names = widgets.browser.names(anew=True)
        run = given["run"] if given["run"] in names else next(iter(names), None)
        menus = [gr.update(choices=names, value=run), gr.update(choices=["", *widgets.browser.run_names()])]
        return [*menus, *_looked(widgets, given | {"run": run})]

    return show


def _looked(widgets: Widgets, given: Mapping[str, Any], *, keep: bool = False) -> list[Any]:
    """Return the updates of `SHOWN`; with `keep`, a page that cannot change by what is still being read is left."""
    with speaking(given["language"]):
        view, wrong = view_of(given)
        look = widgets.browser.look(view)
        return _shown(look, f"{look.status} {wrong}".strip(), given, html=not (keep and look.full))


def _status(text: str) -> str:
    return f'<div class="hc-line" role="status" aria-live="polite">{escape(text)}</div>'


def _shown(look: Look, told: str, given: Mapping[str, Any], *, html: bool) -> list[Any]:
    is_synth = look.kind == "synth"

    def menu(name: str) -> Any:
        offered = [TOTAL if name == "reward" else ALL, *look.choices.get(name, [])]
        value = given.get(name) if given.get(name) in offered else offered[0]
        return gr.update(choices=[*pairs(offered[:1]), *((entry, entry) for entry in offered[1:])], value=value)

    reason = [ALL, *look.choices.get("reason", [])]
    return [
        look.html if html else gr.skip(),
        _status(told),
        gr.update(active=look.busy),
        str(look.page),
        gr.update(visible=look.busy and bool(given.get("text"))),
        gr.update(visible=is_synth),
        gr.update(
            visible=is_synth,
            choices=[*pairs(reason[:1]), *((entry, entry) for entry in reason[1:])],
            value=given.get("reason") if given.get("reason") in reason else ALL,
        ),
        *(gr.skip() if not look.choices else menu(name) for name in MENUS),
    ]


def bind(widgets: Widgets) -> None:
    """Bind the events of all elements."""
    inputs, shown = _inputs(widgets), [widgets[name] for name in SHOWN]

    def render(*values: Any) -> list[Any]:
        return _looked(widgets, dict(zip(FIELDS, values, strict=True)))

    def again(status: str, *values: Any) -> list[Any]:
        return render(*values) if status else [gr.skip()] * len(SHOWN)  # nobody has opened the page yet

    def from_the_first(*values: Any) -> list[Any]:
        return render(*values[:-1], "1")

    def turn(by: int) -> Callable[..., list[Any]]:
        def turned(*values: Any) -> list[Any]:
            view, _ = view_of(dict(zip(FIELDS, values, strict=True)))
            return render(*values[:-1], str(max(view.page + by, 1)))

        return turned

    def tick(*values: Any) -> list[Any]:
        return _looked(widgets, dict(zip(FIELDS, values, strict=True)), keep=True)

    for name in CHANGED:
        widgets[name].input(from_the_first, inputs, shown, **QUIET)
    for name in TYPED:
        widgets[name].submit(from_the_first, inputs, shown, **QUIET)
    widgets["boxes"].input(render, inputs, shown, **QUIET)
    widgets["page"].submit(render, inputs, shown, **QUIET)
    widgets["back"].click(turn(-1), inputs, shown, **QUIET)
    widgets["next"].click(turn(1), inputs, shown, **QUIET)
    widgets["timer"].tick(tick, inputs, shown, **QUIET)
    widgets["refresh"].click(_first(widgets), inputs, _outputs(widgets), **QUIET)
    widgets["language"].change(again, [widgets["status"], *inputs], shown, **QUIET)
    _bind_clear(widgets)
    _bind_jump(widgets)
    _bind_export(widgets)

    def stop(*values: Any) -> list[Any]:
        view, _ = view_of(dict(zip(FIELDS, values, strict=True)))
        widgets.browser.stop_search(view)
        return render(*values)

    widgets["stop"].click(stop, inputs, shown, **QUIET)


CLEARED = {**dict.fromkeys((*RUN_FIELDS, "state", "reason"), ALL), **dict.fromkeys(TYPED, "")}
CLEARED |= {"reward": TOTAL, "order": ORDERS[0]}


def _bind_clear(widgets: Widgets) -> None:
    fields = [name for name in CLEARED if name not in SHOWN]

    def clear(*values: Any) -> list[Any]:
        given = {**dict(zip(FIELDS, values, strict=True)), **CLEARED, "page": "1"}
        return [*(CLEARED[name] for name in fields), *_looked(widgets, given)]

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
        return [row, view, "", *_looked(widgets, given)]

    outputs = [widgets["row"], widgets["view"], widgets["step"], *(widgets[name] for name in SHOWN)]
    widgets["jump"].input(jump, [widgets["jump"], *_inputs(widgets)], outputs, **QUIET)


def _bind_export(widgets: Widgets) -> None:
    def export(name: str, kind: str, *values: Any) -> str:
        given = dict(zip(FIELDS, values, strict=True))
        with speaking(given["language"]):
            return _status(widgets.browser.export(view_of(given)[0], name or "", kind or ""))

    inputs = [widgets["name"], widgets["kind"], *_inputs(widgets)]
    widgets["export"].click(export, inputs, [widgets["exported"]], **QUIET)
