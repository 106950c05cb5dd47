"""LLaMA Board: our stages in its menus, their keys as fields of its Train tab, our checks before it starts a process."""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

from .. import config


_building: list[Any] = []  # the engine of the Board that is being built, which `create_footer` is not told


def _in_the_language_that_was_chosen() -> AbstractContextManager[None]:
    """Speak the language that the host remembers; for what has no form at hand."""
    from llamafactory.webui.common import load_config

    from ..board.speech import speaking

    return speaking((load_config() or {}).get("lang"))


def extend_stage_menu(constants: ModuleType) -> None:
    """Add our stages to the stage menu."""
    constants.TRAINING_STAGES.update({config.LABELS[stage]: stage for stage in config.STAGES})


def extend_pair_stages(constants: ModuleType) -> None:
    """Show ranking datasets for the stages that read pairs."""
    constants.STAGES_USE_PAIR_DATA.update(config.PAIR_STAGES)


def keep_false_and_null(common: ModuleType) -> None:
    """Keep keys of ours whose value is false or null where the default is another."""
    host_clean = common._clean_cmd
    defaults = config.checks.defaults()

    @wraps(host_clean)
    def _clean_cmd(args: dict[str, Any]) -> dict[str, Any]:
        kept = host_clean(args)
        if args.get("stage") not in config.STAGES:
            return kept
        ours = {key: value for key, value in args.items() if key in defaults and key not in kept}
        return kept | {key: value for key, value in ours.items() if value != defaults[key]}

    common._clean_cmd = _clean_cmd


def extend_locales(locales: ModuleType) -> None:
    """Add labels and help of our fields."""
    from ..board.labels import locales as ours

    locales.LOCALES.update(ours())


def extend_control(control: ModuleType) -> None:
    """Offer the datasets that a stage of ours reads, keep the chosen ones when a saved stage is put back, draw a loss of 0."""
    host_list, host_change, host_plot = control.list_datasets, control.change_stage, control.gen_loss_plot

    @wraps(host_list)
    def list_datasets(dataset_dir: Any = None, training_stage: str = next(iter(control.TRAINING_STAGES))) -> Any:
        stage = control.TRAINING_STAGES[training_stage]
        if stage not in config.STAGES:
            return host_list(dataset_dir, training_stage)
        from ..board.datasets import dataset_choices
        from ..board.speech import tr

        info = control.load_dataset_info(control.DEFAULT_DATA_DIR if dataset_dir is None else dataset_dir)
        choices = dataset_choices(info, stage)
        if not choices:
            with _in_the_language_that_was_chosen():
                told = tr("{stage}: no dataset here has rows for this stage.", stage=config.LABELS[stage])
            control.gr.Info(told)
        return control.gr.Dropdown(choices=choices)

    @wraps(host_change)
    def change_stage(training_stage: str = next(iter(control.TRAINING_STAGES))) -> Any:
        chosen, packing = host_change(training_stage)
        return (control.gr.skip() if control.TRAINING_STAGES[training_stage] in config.STAGES else chosen), packing

    @wraps(host_plot)
    def gen_loss_plot(trainer_log: list[dict[str, Any]]) -> Any:
        from ..board.curves.small import is_ours, small_plot

        return small_plot(trainer_log) if is_ours(trainer_log) else host_plot(trainer_log)

    control.list_datasets, control.change_stage, control.gen_loss_plot = list_datasets, change_stage, gen_loss_plot


def extend_train_tab(train: ModuleType) -> None:
    """Put our fields between the host's basic rows and its extra ones; the host saves, loads and sends them as its own."""
    host_create = train.create_train_tab

    @wraps(host_create)
    def create_train_tab(engine: Any) -> dict[str, Any]:
        from ..board.train import bind, bound_log, build_fields

        _building[:] = [engine]
        ours = build_fields()
        with _among_base_elements(engine.manager, ours):
            host = host_create(engine)
        tab, parent = ours["hind_tab"], ours["hind_tab"].parent
        parent.children.remove(tab)
        parent.children.insert(parent.children.index(host["extra_tab"]), tab)
        bind(engine.runner, ours, host, train.TRAINING_STAGES)
        return {**host, **ours, **bound_log(host)}

    train.create_train_tab = create_train_tab


@contextmanager
def _among_base_elements(manager: Any, ours: dict[str, Any]) -> Generator[None]:
    """Let the host's first line, which asks for the elements that every tab sends, find our fields among them."""
    from ..board.fields import board_fields

    host_base = manager.get_base_elems
    manager.get_base_elems = lambda: host_base() | {ours[field.name] for field in board_fields()}
    try:
        yield
    finally:
        del manager.get_base_elems


def extend_footer(footer: ModuleType) -> None:
    """Put our tabs behind the host's: the footer is made right after its last one."""
    host_create = footer.create_footer

    @wraps(host_create)
    def create_footer() -> dict[str, Any]:
        from ..board.network import notice_of_the_network
        from ..board.tabs import build_tabs

        engine = _building.pop() if _building else None
        if engine is not None and not engine.demo_mode:  # a demo is open to all, and our tabs read files
            engine.manager.add_elems("hind", build_tabs(engine))
            if notice := notice_of_the_network(os.environ):
                print(notice, flush=True)
                engine.manager.add_elems("hind_notice", {"hind_open": _on_top(footer.gr.HTML(notice))})
        return host_create()

    footer.create_footer = create_footer


def _on_top(element: Any) -> Any:
    """Move an element to the beginning of the page."""
    element.parent.children.remove(element)
    element.parent.children.insert(0, element)
    return element


def extend_runner(runner: ModuleType) -> None:
    """Send our fields, check them before a process starts, and save only what was changed."""
    from ..board.failing import reason_first
    from ..board.saved import known_ids, only_changed

    host = runner.Runner
    host_parse, host_initialize, host_config = host._parse_train_args, host._initialize, host._build_config_dict
    host_load, host_monitor = runner.load_args, host.monitor

    def stage_of(self: Any, data: dict[Any, Any]) -> str:
        return runner.TRAINING_STAGES[data[self.manager.get_elem_by_id("train.training_stage")]]

    @wraps(host_parse)
    def _parse_train_args(self: Any, data: dict[Any, Any]) -> dict[str, Any]:
        args = host_parse(self, data)
        if args["stage"] not in config.STAGES:
            return args
        from ..board.train import arguments_of

        return args | arguments_of(lambda name: data[self.manager.get_elem_by_id(name)], args["stage"])

    @wraps(host_initialize)
    def _initialize(self: Any, data: dict[Any, Any], do_train: bool, from_preview: bool) -> str:
        error = host_initialize(self, data, do_train, from_preview)
        if error or not do_train:
            return error
        from ..board.train import extra_arguments_problem, problems_of

        error = extra_arguments_problem(data[self.manager.get_elem_by_id("train.extra_args")])
        return error or ("" if stage_of(self, data) not in config.STAGES else problems_of(self, data, from_preview))

    @wraps(host_config)
    def _build_config_dict(self: Any, data: dict[Any, Any]) -> dict[str, Any]:
        return only_changed(host_config(self, data), stage_of(self, data))

    @wraps(host_monitor)
    def monitor(self: Any) -> Generator[dict[Any, Any]]:
        box = self.manager.get_elem_by_id(f"{'train' if self.do_train else 'eval'}.output_box")
        for updates in host_monitor(self):
            yield updates | ({box: reason_first(updates[box])} if isinstance(updates.get(box), str) else {})

    @wraps(host_load)
    def load_args(path: str) -> dict[str, Any] | None:
        found = host_load(path)
        with _in_the_language_that_was_chosen():
            return found if found is None else known_ids(found, warn=runner.gr.Warning)

    host._parse_train_args, host._initialize, host._build_config_dict = (
        _parse_train_args,
        _initialize,
        _build_config_dict,
    )
    host.monitor, runner.load_args = monitor, load_args
