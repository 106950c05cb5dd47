"""The fields of our stages in the host's Train tab: one accordion, shown for our stages alone."""

import html
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from typing import Any, get_args

import gradio as gr
from gradio.blocks import Block  # gradio evaluates the type hints of functions that it is given
from gradio.components import FormComponent

from ..config import check_train, settings
from ..config.problem import ConfigError
from ..config.registry import STAGES
from ..rewards.registry import REWARDS
from .fields import GROUPS, Field, board_fields, fields_of
from .labels import BUTTONS, PRESET_HELP, TITLES, advanced_title, box_name, group_heading, group_name, help_of, label
from .presets import form_of, presets_for, read_preset
from .speech import speaking, tr
from .values import changed, is_changed, read, shown


IN_A_ROW = 4  # [ours]
LOG_HEIGHT = 400  # [ours] pixels
LOG_BOX = "hind_log"
JUMP = f"() => {{ const box = document.querySelector('#{LOG_BOX}'); box.scrollTop = box.scrollHeight; }}"


def build_fields() -> dict[str, Block]:
    """Create the accordion with its fields, hidden; must be called where the Train tab is built.

    Returns:
        Name of an element -> element.
    """
    elements: dict[str, Block] = {}
    with gr.Accordion(TITLES["hind_tab"][0], open=True, visible=False) as tab:
        preset = gr.Dropdown([], label=TITLES["hind_preset"][0], info=PRESET_HELP[0])
        _grouped(True, elements)
        with gr.Accordion(TITLES["hind_advanced_tab"][0], open=False) as advanced:
            _grouped(False, elements)
        with gr.Row():
            check = gr.Button(BUTTONS["hind_check_btn"][0])
            reset = gr.Button(BUTTONS["hind_reset_btn"][0])
        status = gr.Markdown(elem_id="hind_status")
    extra = {"hind_tab": tab, "hind_advanced_tab": advanced, "hind_check_btn": check, "hind_reset_btn": reset}
    return {**elements, **extra, "hind_preset": preset, "hind_status": status}


def _grouped(basic: bool, elements: dict[str, Block]) -> None:
    """Create the fields of one half, each group below its heading."""
    for group in GROUPS:
        some = [field for field in board_fields() if field.basic == basic and field.group == group]
        if some:
            with gr.Column(visible=False) as box:
                elements[group_name(group, basic)] = gr.HTML(group_heading(group, "en"))
                _rows(some, elements)
            elements[box_name(group, basic)] = box


def _rows(some: list[Field], elements: dict[str, Block]) -> None:
    for start in range(0, len(some), IN_A_ROW):
        with gr.Row():
            for field in some[start : start + IN_A_ROW]:
                elements[field.name] = _element(field)


def _element(field: Field) -> Block:
    options = {"label": label(field, "en"), "info": help_of(field, "en"), "value": shown(field), "visible": False}
    if field.kind == "flag":
        return gr.Checkbox(**options)
    if field.kind == "choice":
        return gr.Dropdown(choices=list(field.choices), **options)
    if field.kind == "list":
        choices = sorted(REWARDS) if field.key == "reward_funcs" else []
        return gr.Dropdown(choices=choices, multiselect=True, allow_custom_value=True, **options)
    return gr.Textbox(**options)


def visibility(stage: str, elements: Mapping[str, Block]) -> dict[Block, Any]:
    """Return the updates that show the fields of a stage and hide all others."""
    there = {field.name for field in fields_of(stage)}
    updates = {elements[field.name]: gr.update(visible=field.name in there) for field in board_fields()}
    there = {box_name(field.group, field.basic) for field in fields_of(stage)}
    updates |= {elements[name]: gr.update(visible=name in there) for name in boxes()}
    return {
        **updates,
        elements["hind_tab"]: gr.update(visible=stage in STAGES),
        elements["hind_preset"]: gr.update(choices=presets_for("stage", stage), value=None),
        elements["hind_status"]: "",
    }


def boxes() -> list[str]:
    """Return the names of the parts that groups are in."""
    return list(dict.fromkeys(box_name(field.group, field.basic) for field in board_fields()))


def hidden_changes(values: Mapping[str, Any], stage: str) -> int:
    """Return how many fields of the folded half say something of their own; `values` has what the fields hold."""
    return sum(is_changed(field, values[field.key]) for field in fields_of(stage) if not field.basic)


def fill(name: str) -> tuple[dict[str, Any], str]:
    """Return what a preset puts into the form, element id -> value, and a line about it; nothing where there is none."""
    settings = read_preset(name)
    if not settings:
        return {}, html.escape(tr("{name}: it cannot be read.", name=name))
    told = tr(
        "{name} is filled in. It was written for {model} with template {template}; the model is chosen at the top.",
        name=name,
        model=settings.get("model_name_or_path"),
        template=settings.get("template"),
    )
    return form_of(settings), html.escape(told)


def untouched(elements: Mapping[str, Block]) -> dict[Block, Any]:
    """Return the updates that put every field back."""
    return {**{elements[field.name]: shown(field) for field in board_fields()}, elements["hind_status"]: ""}


def arguments_of(get: Callable[[str], Any], stage: str) -> dict[str, Any]:
    """Return the keys that the form says.

    Args:
        get: element id -> what it holds.
        stage: that is chosen.

    Raises:
        ConfigError: a field that cannot be read, or that the box of extra arguments contradicts.
    """
    values = {field.key: get(f"train.{field.name}") for field in fields_of(stage)}
    wrong: list[Any] = []
    for field in fields_of(stage):
        try:
            read(field, values[field.key])
        except ValueError as error:
            wrong.append(str(error))
    found = {} if wrong else changed(values, stage)
    extra = json.loads(get("train.extra_args") or "{}")
    wrong += [
        f"{key}: the field says {value!r} and the extra arguments say {extra[key]!r}. Remove one of them."
        for key, value in found.items()
        if key in extra and extra[key] != value
    ]
    if wrong:
        raise ConfigError(wrong)
    return {key: value for key, value in found.items() if key not in extra}


def as_markdown(error: Exception) -> str:
    """Return every problem as a point of a list, with nothing that the page would take for markup."""
    problems = getattr(error, "problems", None) or str(error).splitlines()
    return "\n".join(f"- {html.escape(str(problem)).replace('`', '&#96;')}" for problem in problems)


def extra_arguments_problem(text: str) -> str:
    """Return what is wrong with the host's box of extra arguments; the host itself fails at a list."""
    if isinstance(json.loads(text), dict):
        return ""
    return 'Extra arguments: expected a JSON object, for example {"max_steps": 100}. Change the box.'


def problems_of(runner: Any, data: Mapping[Any, Any], preview: bool = False) -> str:
    """Return all problems of the form as Markdown, "" where there are none; nothing is loaded.

    Args:
        runner: the host's, which turns the form into arguments.
        data: element -> what it holds.
        preview: only fields that cannot be read are problems: a command may be looked at before it is complete.
    """
    from llamafactory.webui.common import _clean_cmd

    try:
        args = _clean_cmd(runner._parse_train_args(data))
        if not preview:
            check_settings(args)
    except (ConfigError, ValueError) as error:
        return as_markdown(error)
    return ""


def check_settings(args: dict[str, Any]) -> list[str]:
    """Check keys and values as `llamafactory-cli train` does; return warnings.

    Raises:
        ConfigError: with every problem.
    """
    from llamafactory.hparams import parser

    known = {entry.name for owner in parser._TRAIN_ARGS for entry in dataclass_fields(owner) if entry.init}
    stages = [stage for stage in get_args(parser.FinetuningArguments.__annotations__["stage"]) if stage not in STAGES]
    return check_train(settings(args, known), known=known, host_stages=stages, environ=os.environ)


def bind(runner: Any, ours: Mapping[str, Block], host: Mapping[str, Block], stages: Mapping[str, str]) -> None:
    """Show the fields of the chosen stage, and let the buttons work.

    Args:
        runner: the host's.
        ours: our elements.
        host: those of the Train tab.
        stages: entries of the stage menu -> stages.
    """
    outputs = [ours[name] for name in (*(field.name for field in board_fields()), *boxes())]
    outputs += [ours["hind_tab"], ours["hind_status"], ours["hind_preset"], host["rlhf_tab"]]
    lang = runner.manager.get_elem_by_id("top.lang")

    def choose(title: str) -> dict[Block, Any]:
        stage = stages[title]
        return {**visibility(stage, ours), host["rlhf_tab"]: gr.update(visible=stage not in STAGES)}

    def check(data: dict[Block, Any]) -> str:
        started = time.perf_counter()
        found = runner._initialize(data, True, False)
        with speaking(data[lang]):
            took = time.perf_counter() - started
            return found or tr("✓ No problem found in {took:.1f} s. Rows and models were not read.", took=took)

    def count(title: str, language: str, *held: Any) -> Any:
        values = dict(zip([field.key for field in board_fields()], held, strict=True))
        return gr.update(label=advanced_title(hidden_changes(values, stages[title]), language))

    def element(name: str) -> Block:
        tab, _, own = name.partition(".")
        return {**host, **ours}[own] if tab == "train" else runner.manager.get_elem_by_id(name)

    def take(data: dict[Block, Any]) -> dict[Block, Any]:
        name = data[ours["hind_preset"]]
        if not name:
            return {ours["hind_status"]: ""}
        with speaking(data[lang]):
            form, told = fill(name)
        return {**{element(key): value for key, value in form.items()}, ours["hind_status"]: told}

    quiet = {"queue": False, "show_progress": "hidden", "api_name": False}
    host["training_stage"].change(choose, [host["training_stage"]], outputs, **quiet)
    fields = [ours[field.name] for field in board_fields()] + [ours["hind_status"]]
    ours["hind_reset_btn"].click(lambda: untouched(ours), None, fields, **quiet)
    inputs = runner.manager.get_base_elems() | {
        element for element in host.values() if isinstance(element, FormComponent)
    }
    ours["hind_check_btn"].click(check, inputs | set(fields[:-1]), [ours["hind_status"]], **quiet)
    ours["hind_preset"].input(take, {ours["hind_preset"], lang}, list(inputs | set(fields)), **quiet)
    counted = [ours[field.name] for field in board_fields()]
    hidden = [ours[field.name].change for field in board_fields() if not field.basic]
    changes = [host["training_stage"].change, lang.change, *hidden]
    told = [ours["hind_advanced_tab"]]
    gr.on(changes, count, [host["training_stage"], lang, *counted], told, trigger_mode="always_last", **quiet)


def bound_log(host: Mapping[str, Block]) -> dict[str, Block]:
    """Keep the log in a box, which the host's page would grow with, and add a button that scrolls to its end.

    Args:
        host: elements of the Train tab, which is being built.
    """
    host["output_box"].max_height, host["output_box"].elem_id = LOG_HEIGHT, LOG_BOX
    button = gr.Button(BUTTONS["hind_end_btn"][0], size="sm")
    button.click(None, js=JUMP)
    return {"hind_end_btn": button}
