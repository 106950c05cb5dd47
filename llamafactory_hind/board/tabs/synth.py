"""The tab of `synth` and `score`: fields of each pipeline, a dry run, jobs that outlive the page, their results."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.problem import ConfigError
from ...evaluation.arguments import build_arguments as build_score
from ...evaluation.metrics import metric_names
from ...pipelines import get_pipeline, pipeline_names
from ...pipelines.runner.command import build_arguments
from ...pipelines.runner.pipeline import row_formats
from ...storage.dataset_info import read_info
from ..curves.runs import RunList, roots_of
from ..fields import Field
from ..jobs.store import FOLDER, Jobs, titles
from ..presets import presets_for, read_preset
from ..speech import speaking, tr
from ..synth.evaluated import PREDICTIONS, settings_of_run
from ..synth.forms import SCORE, SHARED, forms, held_by, is_basic, settings_of
from ..synth.job_page import job_page
from ..synth.results import registered, scores_page
from ..synth.servers import REFUSED, calls_a_server, servers_allowed
from ..synth.trial import dry_run
from ..synth.words import BUTTONS, WORDS, help_of, label, labels
from ..train import as_markdown
from ..values import shown


TITLE = ("Synth & Score", "合成与评分")
ORDER = 30
SECONDS = 2  # [ours] between two looks at a job
IN_A_ROW = 4
ENGINES = ("hf", "openai")
LABELS = labels()


def build(engine: Any) -> dict[str, Any]:
    """Make the elements of the tab and bind their events."""
    page = Page(engine, Jobs(Path(FOLDER)))
    page.build_synth()
    page.build_score()
    page.build_jobs()
    page.bind()
    return page.elements


class Page:
    """The elements of the tab, and what its buttons do.

    Args:
        engine: of the Board.
        jobs: that are shown and started.
    """

    def __init__(self, engine: Any, jobs: Jobs) -> None:
        """Create nothing yet."""
        self.engine, self.jobs = engine, jobs
        self.language = engine.manager.get_elem_by_id("top.lang")
        self.predicted = RunList(roots_of(os.environ), PREDICTIONS)
        self.elements: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}  # those of `elements` that hold keys
        self.own: dict[str, Any] = {}  # pipeline -> the part of the form that is its own
        self.of_engine: dict[str, list[Any]] = {engine: [] for engine in ENGINES}

    def build_synth(self) -> None:
        """Create the form of the pipelines."""
        names = pipeline_names()
        with gr.Accordion(WORDS["hind_synth_section"][0], open=True) as section:
            with gr.Row():
                self._add(
                    "hind_synth_pipeline", gr.Dropdown(names, value=names[0], label=self._word("hind_synth_pipeline"))
                )
                presets = presets_for("pipeline", names[0])
                self._add("hind_synth_preset", gr.Dropdown(presets, value=None, label=self._word("hind_synth_preset")))
            self._fields(SHARED, basic=True)
            for name in names:
                with gr.Column(visible=name == names[0]) as own:
                    self._fields(name, basic=True)
                    self._fields(name, basic=False)
                self.own[name] = own
            with gr.Accordion(WORDS["hind_synth_advanced"][0], open=False) as advanced:
                self._fields(SHARED, basic=False)
                more = gr.Textbox(label=self._word("hind_synth_more"), lines=2, placeholder="image_max_pixels: 262144")
                self._add("hind_synth_more", more)
            with gr.Row():
                self._button("hind_synth_preview")
                self._button("hind_synth_start", variant="primary")
            self.said = gr.Markdown(elem_id="hind_synth_said")
            self.trial = gr.HTML(elem_id="hind_synth_trial")
        self.elements |= {"hind_synth_section": section, "hind_synth_advanced": advanced}

    def build_score(self) -> None:
        """Create the form of `score`."""
        with gr.Accordion(WORDS["hind_score_section"][0], open=False) as section:
            self._fields(SCORE, basic=True)
            self._fields(SCORE, basic=False)
            self._button("hind_score_start", variant="primary")
            with gr.Row():
                runs = self.predicted.names()
                found = gr.Dropdown(runs, value=runs[0] if runs else None, label=self._word("hind_score_run"), scale=3)
                self._add("hind_score_run", found)
                self._button("hind_score_evaluated")
            self.score_said = gr.Markdown(elem_id="hind_score_said")
        self.elements["hind_score_section"] = section

    def build_jobs(self) -> None:
        """Create the part that shows a job."""
        with gr.Row():
            choices = titles(self.jobs, self.jobs.names())
            chosen = choices[0][1] if choices else None
            self._add("hind_job", gr.Dropdown(choices, value=chosen, label=self._word("hind_job"), scale=3))
            for name in ("hind_job_stop", "hind_job_resume", "hind_job_use"):
                self._button(name)
        self.job = gr.HTML(elem_id="hind_job_page")
        self.result = gr.HTML(elem_id="hind_job_result")
        self.seen = gr.State(("", ""))
        self.timer = gr.Timer(SECONDS)

    def bind(self) -> None:
        """Bind the events."""
        get, quiet = self.elements.__getitem__, {"show_progress": "hidden", "api_name": False, "queue": False}
        pipeline, job = get("hind_synth_pipeline"), get("hind_job")
        groups = [*self.own.values(), *(column for columns in self.of_engine.values() for column in columns)]
        shapes = [pipeline, self.fields["hind_synth_all_engine"]]
        told = [get("hind_synth_preset"), *groups]
        names = self.fields
        where = [names["hind_synth_all_dataset_dir"], pipeline]
        names["hind_synth_all_dataset"].focus(self.readable, where, [names["hind_synth_all_dataset"]], **quiet)
        folder = [names["hind_score_score_dataset_dir"]]
        names["hind_score_score_dataset"].focus(self.readable, folder, [names["hind_score_score_dataset"]], **quiet)
        for element in shapes:
            element.change(self.shape, shapes, told, **quiet)
        language = self.language
        inputs = {language, pipeline, get("hind_synth_more"), *self.fields.values()}
        preset = [pipeline, get("hind_synth_more"), *self.fields.values()]
        get("hind_synth_preset").input(self.fill, [get("hind_synth_preset"), language], [*preset, self.said], **quiet)
        get("hind_synth_preview").click(self.preview, inputs, [self.said, self.trial], api_name=False)
        started = [job, self.job, self.result, self.seen]
        get("hind_synth_start").click(self.start_synth, inputs, [self.said, *started], **quiet)
        get("hind_score_start").click(self.start_score, inputs, [self.score_said, *started], **quiet)
        evaluated = {*inputs, get("hind_score_run")}
        get("hind_score_evaluated").click(self.score_run, evaluated, [self.score_said, *started], **quiet)
        get("hind_job_stop").click(self.stop, [job, language], [self.said], **quiet)
        get("hind_job_resume").click(self.resume, [job, language], [self.said, *started], **quiet)
        self.timer.tick(
            self.look, [job, language, get("hind_score_run"), self.seen], [*started, get("hind_score_run")], **quiet
        )
        for element in (job, language):
            element.change(self.said_of, [job, language], [self.job, self.result, self.seen], **quiet)
        train = [self.engine.manager.get_elem_by_id(f"train.{name}") for name in ("dataset_dir", "dataset")]
        get("hind_job_use").click(self.use, [job, language], [self.said, *train], **quiet)

    def shape(self, pipeline: str, engine: str) -> list[Any]:
        """Show the presets and fields of a pipeline, and the fields of an engine."""
        shown_groups = [gr.update(visible=name == pipeline) for name in self.own]
        of_engine = [gr.update(visible=name == engine) for name, columns in self.of_engine.items() for _ in columns]
        return [gr.update(choices=presets_for("pipeline", pipeline), value=None), *shown_groups, *of_engine]

    def readable(self, dataset_dir: str, pipeline: str | None = None) -> Any:
        """Offer the datasets of a folder; of a pipeline, those in its formats."""
        formats = row_formats(get_pipeline(pipeline)) if pipeline else None
        info = read_info(Path(dataset_dir or "."))
        return gr.update(choices=[name for name, entry in info.items() if _is_read(entry, formats)])

    def fill(self, name: str | None, language: str) -> list[Any]:
        """Fill the form from a preset."""
        settings = read_preset(name) if name else {}
        if not settings:
            return [gr.skip()] * (3 + len(self.fields))
        pipeline = settings["pipeline"]
        held, more = held_by([SHARED, pipeline], settings)
        values = [held[key] if key in held else gr.skip() for key in self.fields]
        with speaking(language):
            return [pipeline, more, *values, tr("{name} is filled in.", name=name)]

    def preview(self, data: dict[Any, Any]) -> tuple[str, str]:
        """Return what is wrong, and the prompts of some rows."""
        try:
            with speaking(data[self.language]):
                return "", dry_run(self.synth_settings(data))
        except (ConfigError, ValueError) as error:
            return as_markdown(error), ""

    def start_synth(self, data: dict[Any, Any], request: gr.Request) -> tuple[Any, ...]:
        """Start a pipeline unless something is wrong with its keys."""
        try:
            settings = self.synth_settings(data)
            build_arguments(settings, calling=not settings.get("merge"))
        except (ConfigError, ValueError) as error:
            return (as_markdown(error), *[gr.skip()] * 4)
        with speaking(data[self.language]):
            return "", *self.started("synth", settings, settings["pipeline"], request)

    def start_score(self, data: dict[Any, Any], request: gr.Request) -> tuple[Any, ...]:
        """Start `score` unless something is wrong with its keys."""
        return self.score(data, {}, request)

    def score_run(self, data: dict[Any, Any], request: gr.Request) -> tuple[Any, ...]:
        """Score what a run of Evaluate & Predict wrote, with the datasets that it read."""
        name = data[self.elements["hind_score_run"]]
        found = self.predicted.open([name] if name else [])
        if not found:
            with speaking(data[self.language]):
                return (tr("- Choose a run that predicted."), *[gr.skip()] * 4)
        return self.score(data, settings_of_run(found[name]), request)

    def score(self, data: Mapping[Any, Any], known: Mapping[str, Any], request: gr.Request) -> tuple[Any, ...]:
        """Start `score` with what the form says; what is known of the predictions counts more."""
        try:
            settings = {**settings_of([SCORE], self.held(data)), **known}
            build_score(settings)
        except (ConfigError, ValueError) as error:
            return (as_markdown(error), *[gr.skip()] * 4)
        with speaking(data[self.language]):
            return "", *self.started("score", settings, str(settings["metric"]), request)

    def started(self, command: str, settings: dict[str, Any], what: str, request: gr.Request) -> tuple[Any, ...]:
        """Start a job, and return what shows it."""
        by = str(getattr(request, "session_hash", "") or "")[:6]
        name = self.jobs.start(command, settings, title=f"{command} {what}", by=by)
        return gr.update(choices=titles(self.jobs, self.jobs.names()), value=name), *self.show(name)

    def said_of(self, name: str | None, language: str) -> tuple[str, str, tuple[str, str]]:
        """Return `show` in a language."""
        with speaking(language):
            return self.show(name)

    def show(self, name: str | None) -> tuple[str, str, tuple[str, str]]:
        """Return the page of a job, its result, and both again for the next look."""
        state = self.jobs.state(name)
        page, result = job_page(state), ""
        if state is not None and state.phase == "finished":
            if "metric" in state.settings:
                result = scores_page(build_score(state.settings).summary_file)
            elif names := registered(state.settings):
                result = f"<p>{escape(tr('Registered as {names}.', names=', '.join(names)))}</p>"
        return page, result, (page, result)

    def look(self, name: str | None, language: str, run: str | None, before: Any) -> tuple[Any, ...]:
        """Return what changed since the last look; where no job is chosen, the newest one is."""
        runs = gr.skip() if run else gr.update(choices=self.predicted.names())
        names = [] if name else self.jobs.names()
        with speaking(language):
            page, result, seen = self.show(names[0] if names else name)
            menu = gr.update(choices=titles(self.jobs, names), value=names[0]) if names else gr.skip()
        if tuple(before) == seen:
            return menu, gr.skip(), gr.skip(), gr.skip(), runs
        return menu, page, result, seen, runs

    def stop(self, name: str | None, language: str) -> str:
        """Stop a job."""
        stopped = self.jobs.stop(name)
        with speaking(language):
            return tr("Stopping; finished rows are kept." if stopped else "- No job is running here.")

    def resume(self, name: str | None, language: str, request: gr.Request) -> tuple[Any, ...]:
        """Start a job again with the same keys; its journal knows what is done."""
        state = self.jobs.state(name)
        with speaking(language):
            if state is None or state.phase == "running":
                return (tr("- Choose a job that has ended."), *[gr.skip()] * 4)
            if calls_a_server(state.settings) and not servers_allowed(os.environ):
                return (f"- {REFUSED}", *[gr.skip()] * 4)
            command, _, what = state.title.partition(" ")
            return "", *self.started(command, state.settings, what, request)

    def use(self, name: str | None, language: str) -> tuple[Any, ...]:
        """Choose what a job registered as the dataset of the Train tab."""
        state = self.jobs.state(name)
        names = [] if state is None or "metric" in state.settings else registered(state.settings)
        with speaking(language):
            if state is None or not names:
                return tr("- This job has registered no dataset."), gr.skip(), gr.skip()
            told = tr("{names}: chosen in Train.", names=", ".join(names))
        gr.Info(told)
        return escape(told), state.settings.get("dataset_dir", "data"), gr.update(choices=names, value=names)

    def held(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return name of a field -> what it holds."""
        return {name: data[element] for name, element in self.fields.items()}

    def synth_settings(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the keys that the form says.

        Raises:
            ConfigError: a field cannot be read, or a server is named and this Board may not call one.
        """
        pipeline = data[self.elements["hind_synth_pipeline"]]
        more = data[self.elements["hind_synth_more"]]
        settings = {"pipeline": pipeline, **settings_of([SHARED, pipeline], self.held(data), more)}
        if calls_a_server(settings) and not servers_allowed(os.environ):
            raise ConfigError([REFUSED])
        return settings

    def _fields(self, owner: str, *, basic: bool) -> None:
        """Create the fields of one half of a form, those of an engine in parts of their own."""
        form = forms()[owner]
        half = [field for field in form.fields if is_basic(field) == basic]
        self._rows(owner, [field for field in half if field.key not in form.engines])
        for engine in ENGINES:
            some = [field for field in half if form.engines.get(field.key) == engine]
            if some:
                with gr.Column(visible=engine == ENGINES[0]) as column:
                    self._rows(owner, some)
                self.of_engine[engine].append(column)

    def _rows(self, owner: str, some: list[Field]) -> None:
        for start in range(0, len(some), IN_A_ROW):
            with gr.Row():
                for field in some[start : start + IN_A_ROW]:
                    name = forms()[owner].name(field)
                    self.fields[name] = self.elements[name] = _element(field)

    def _add(self, name: str, element: Any) -> None:
        self.elements[name] = element

    def _button(self, name: str, **options: Any) -> None:
        self._add(name, gr.Button(BUTTONS[name][0], **options))

    def _word(self, name: str) -> str:
        return WORDS[name][0]


def _is_read(entry: Any, formats: tuple[str, ...] | None) -> bool:
    return isinstance(entry, dict) and (formats is None or entry.get("formatting") in formats)


def _element(field: Field) -> Any:
    options = {"label": label(field, "en"), "info": help_of(field, "en"), "value": shown(field)}
    if field.kind == "flag":
        return gr.Checkbox(**options)
    if field.kind == "choice":
        return gr.Dropdown(list(field.choices), **options)
    if field.kind == "list":
        choices = metric_names() if field.key == "metric" else []
        return gr.Dropdown(choices, multiselect=True, allow_custom_value=True, **options)
    return gr.Textbox(**options)
