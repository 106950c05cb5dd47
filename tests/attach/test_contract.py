"""The host names and signatures we lean on: a new host release fails here first, by name.

Signatures are the host's own: our replacements keep them behind `__wrapped__`, and dataclasses are compared with their base.
"""

import ast
import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from llamafactory_hind.attach.hooks import HOOKS
from llamafactory_hind.attach.host_import import SUPPORTED, version_tuple
from llamafactory_hind.config import DATA_ARGUMENTS, FINETUNING_ARGUMENTS, PAIR_STAGES, STAGES


ROOT = Path(__file__).resolve().parents[2]
V1 = "llamafactory.v1"

PARAMETERS = {  # host function -> its parameters
    "llamafactory.hparams.parser:read_args": ["args"],
    "llamafactory.hparams.parser:get_train_args": ["args"],
    "llamafactory.train.tuner:_training_function": ["config"],
    "llamafactory.train.tuner:run_exp": ["args", "callbacks"],
    "llamafactory.data.parser:DatasetAttr.join": ["self", "attr"],
    "llamafactory.data.converter:register_dataset_converter": ["name", "dataset_converter"],
    "llamafactory.data.converter:get_dataset_converter": ["name", "dataset_attr", "data_args"],
    "llamafactory.data.loader:align_dataset": ["dataset", "dataset_attr", "data_args", "training_args"],
    "llamafactory.data.loader:_load_single_dataset": ["dataset_attr", "model_args", "data_args", "training_args"],
    "llamafactory.data.loader:_get_merged_dataset": [
        "dataset_names",
        "model_args",
        "data_args",
        "training_args",
        "stage",
        "return_dict",
    ],
    "llamafactory.data.loader:_get_dataset_processor": [
        "data_args",
        "stage",
        "template",
        "tokenizer",
        "processor",
        "do_generate",
    ],
    "llamafactory.data.loader:get_dataset": [
        "template",
        "model_args",
        "data_args",
        "training_args",
        "stage",
        "tokenizer",
        "processor",
    ],
    "llamafactory.launcher:launch": [],
    "llamafactory.webui.common:_clean_cmd": ["args"],
    "llamafactory.webui.components.train:create_train_tab": ["engine"],
    "llamafactory.webui.components.footer:create_footer": [],
    "llamafactory.webui.control:list_datasets": ["dataset_dir", "training_stage"],
    "llamafactory.webui.control:change_stage": ["training_stage"],
    "llamafactory.webui.runner:Runner._parse_train_args": ["self", "data"],
    "llamafactory.webui.runner:Runner._initialize": ["self", "data", "do_train", "from_preview"],
    "llamafactory.webui.runner:Runner._build_config_dict": ["self", "data"],
    "llamafactory.webui.runner:load_args": ["config_path"],
    "llamafactory.model:load_tokenizer": ["model_args"],
    "llamafactory.model:load_model": ["tokenizer", "model_args", "finetuning_args", "is_trainable", "add_valuehead"],
    "llamafactory.train.trainer_utils:create_ref_model": ["model_args", "finetuning_args", "add_valuehead"],
    "llamafactory.train.trainer_utils:create_custom_optimizer": ["model", "training_args", "finetuning_args"],
    "llamafactory.train.trainer_utils:create_custom_scheduler": ["training_args", "num_training_steps", "optimizer"],
    "llamafactory.train.trainer_utils:create_modelcard_and_push": [
        "trainer",
        "model_args",
        "data_args",
        "training_args",
        "finetuning_args",
    ],
    "llamafactory.extras.ploting:plot_loss": ["save_dictionary", "keys"],
}
CALLBACKS = {  # what the host's _training_function may append, which run_stage repeats
    (0, 9, 4): [
        "LogCallback",
        "PissaConvertCallback",
        "get_swanlab_callback",
        "EarlyStoppingCallback",
        "ReporterCallback",
    ],
    (0, 9, 5): [
        "LogCallback",
        "PissaConvertCallback",
        "get_swanlab_callback",
        "EarlyStoppingCallback",
        "TorchProfilerCallback",
        "ModuleProfilerCallback",
        "ReporterCallback",
    ],
}


def host_version() -> tuple[int, ...]:
    """Return the installed host's version."""
    return version_tuple(importlib.import_module("llamafactory").__version__)[:3]


def host_object(place: str) -> Any:
    """Return the host's own object at `module:name.name`."""
    module, names = place.split(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return inspect.unwrap(found) if inspect.isfunction(found) else found


@pytest.mark.parametrize("place", sorted(PARAMETERS))
def test_host_function_takes(place: str) -> None:
    assert list(inspect.signature(host_object(place)).parameters) == PARAMETERS[place]


def applicable_hooks() -> list[Any]:
    return [hook for hook in HOOKS if hook.since <= host_version() < hook.until and not hook.module.startswith(V1)]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{hook.module}.{hook.name}")
def test_hook(hook: Any) -> None:
    """Each hook is in the documentation, has a reason and a function of ours, and the host has its name."""
    assert f"`{hook.module}`" in (ROOT / "docs" / "attach.md").read_text()
    assert f"`{hook.name}`" in (ROOT / "docs" / "attach.md").read_text()
    assert hook.why
    assert SUPPORTED[0] <= hook.since < hook.until <= SUPPORTED[1]
    assert callable(hook.load())
    if hook.module.startswith(V1):  # importing the next engine changes global state: read its text
        path = Path(importlib.import_module("llamafactory").__file__).parent.joinpath(*hook.module.split(".")[1:])
        assert f"def {hook.name}()" in path.with_suffix(".py").read_text()
    elif hook in applicable_hooks():
        host_object(f"{hook.module}:{hook.name}")


@pytest.mark.parametrize(
    "place",
    [
        "llamafactory.hparams.parser:get_train_args",
        "llamafactory.train.tuner:_training_function",
        "llamafactory.data.parser:DatasetAttr.join",
        "llamafactory.data.loader:align_dataset",
        "llamafactory.data.loader:_load_single_dataset",
        "llamafactory.data.loader:_get_merged_dataset",
        "llamafactory.data.loader:_get_dataset_processor",
        "llamafactory.launcher:launch",
    ],
)
def test_the_name_in_the_host_is_ours(place: str) -> None:
    module, names = place.split(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    assert found.__globals__["__name__"].startswith("llamafactory_hind.attach")
    assert found.__qualname__ == names


def test_ray_pickles_the_training_function_by_reference() -> None:
    import pickle

    from llamafactory.train import tuner

    assert pickle.loads(pickle.dumps(tuner._training_function)) is tuner._training_function


def test_names_taken_by_other_host_modules_are_ours_too() -> None:
    """`from x import name` copies a name: every copy must have been made after the hook."""
    from llamafactory import hparams
    from llamafactory.data import loader
    from llamafactory.hparams import data_args, finetuning_args, parser
    from llamafactory.train import tuner
    from llamafactory.webui import control, runner

    assert hparams.FinetuningArguments is parser.FinetuningArguments is finetuning_args.FinetuningArguments
    assert hparams.DataArguments is parser.DataArguments is data_args.DataArguments
    assert finetuning_args.FinetuningArguments in parser._TRAIN_ARGS
    assert finetuning_args.FinetuningArguments in parser._INFER_ARGS
    assert data_args.DataArguments in parser._TRAIN_ARGS
    assert hparams.get_train_args is parser.get_train_args is tuner.get_train_args
    assert hparams.read_args is parser.read_args is tuner.read_args
    assert loader._load_single_dataset.__wrapped__.__globals__["align_dataset"] is loader.align_dataset
    for stages in (control.TRAINING_STAGES, runner.TRAINING_STAGES):
        assert set(stages.values()) >= set(STAGES)
    assert control.STAGES_USE_PAIR_DATA >= PAIR_STAGES


def test_the_arguments_are_the_hosts_with_our_fields() -> None:
    from llamafactory.hparams import DataArguments, FinetuningArguments

    for extended, ours in ((FinetuningArguments, FINETUNING_ARGUMENTS), (DataArguments, DATA_ARGUMENTS)):
        host = extended.__bases__[-1]
        assert host.__module__.startswith("llamafactory.")
        assert [entry.name for entry in fields(extended)][: len(fields(host))] == [
            entry.name for entry in fields(host)
        ]
        added = {entry.name for owner in ours for entry in fields(owner)}
        assert {entry.name for entry in fields(extended)} - {entry.name for entry in fields(host)} == added
    host_stages = get_args(get_type_hints(FinetuningArguments.__bases__[-1])["stage"])
    assert host_stages == ("pt", "sft", "rm", "ppo", "dpo", "kto")
    assert get_args(get_type_hints(FinetuningArguments)["stage"]) == (*host_stages, *STAGES)
    assert FinetuningArguments(stage="kepo", finetuning_type="full").to_dict()["kepo_beta"] == 0.1
    with pytest.raises(ValueError, match="only valid for LoRA"):  # the host's own __post_init__ still runs
        FinetuningArguments(finetuning_type="full", use_dora=True)


def test_the_callbacks_of_a_run_are_the_hosts() -> None:
    source = inspect.getsource(host_object("llamafactory.train.tuner:_training_function"))
    assert re.findall(r"callbacks\.append\(\s*(\w+)\(", source) == CALLBACKS[host_version()]
    from llamafactory_hind.attach.dispatch import run_stage

    ours = re.findall(r"callbacks\.append\(\s*(?:tuner\.)?(\w+)\(", inspect.getsource(run_stage))
    assert ours == ["MetricsLogCallback", *CALLBACKS[(0, 9, 5)][1:]]
    from llamafactory.train.callbacks import LogCallback

    from llamafactory_hind.trainers.logs import MetricsLogCallback

    assert issubclass(MetricsLogCallback, LogCallback)


def test_arguments_survive_pickle() -> None:
    import pickle

    from llamafactory.hparams import FinetuningArguments

    arguments = FinetuningArguments(stage="kepo", kepo_beta=0.3)
    assert pickle.loads(pickle.dumps(arguments)) == arguments


def host_imports() -> list[tuple[str, str, str]]:
    """Return (our file, host module, name) of every `from llamafactory... import name` in the package."""
    found = []
    for path in sorted((ROOT / "llamafactory_hind").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "llamafactory":
                found += [(str(path.relative_to(ROOT)), node.module, alias.name) for alias in node.names]
    return found


def test_every_host_name_we_import_exists() -> None:
    missing = []
    for path, module, name in host_imports():
        if not hasattr(importlib.import_module(module), name):
            try:
                importlib.import_module(f"{module}.{name}")
            except ImportError:
                missing.append(f"{path}: from {module} import {name}")
    assert not missing
