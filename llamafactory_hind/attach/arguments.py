"""The host's arguments: our keys as flat fields of its dataclasses, our checks before its parser."""

import json
import os
import sys
from dataclasses import field, fields, make_dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from .. import config


def extend_finetuning_arguments(module: ModuleType) -> None:
    """Replace `FinetuningArguments` by a subclass with our stages in `stage` and our keys as fields."""
    host_class = module.FinetuningArguments
    host_field = next(entry for entry in fields(host_class) if entry.name == "stage")
    stages = Literal[(*get_args(host_class.__annotations__["stage"]), *config.STAGES)]
    stage = ("stage", stages, field(default=host_field.default, metadata=dict(host_field.metadata)))
    _replace(module, "FinetuningArguments", config.FINETUNING_ARGUMENTS, extra_fields=[stage])


def extend_data_arguments(module: ModuleType) -> None:
    """Replace `DataArguments` by a subclass with our data keys."""
    _replace(module, "DataArguments", config.DATA_ARGUMENTS, extra_fields=[])


def _replace(module: ModuleType, name: str, ours: tuple[type, ...], *, extra_fields: list[Any]) -> None:
    host_class = getattr(module, name)
    # The host's class comes last, so that its fields come first in `train -h`. The names let pickle find the subclass.
    extended = make_dataclass(name, extra_fields, bases=(*ours, host_class))
    extended.__module__, extended.__qualname__, extended.__doc__ = module.__name__, name, host_class.__doc__
    setattr(module, name, extended)


def mend_json_configs(parser: ModuleType) -> None:
    """Read `X.json [key=value ...]` as the host reads `X.yaml [key=value ...]`."""
    host_read_args = parser.read_args

    @wraps(host_read_args)
    def read_args(args: Any = None) -> Any:
        if args is not None or len(sys.argv) < 2 or not sys.argv[1].endswith(".json"):
            return host_read_args(args)
        merge, create = parser.OmegaConf.merge, parser.OmegaConf.create
        settings = create(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8-sig")))
        return parser.OmegaConf.to_container(merge(settings, parser.OmegaConf.from_cli(sys.argv[2:])))

    parser.read_args = read_args


def check_train_args(parser: ModuleType) -> None:
    """Check all keys and values, then let the host parse them."""
    host_get_train_args = parser.get_train_args

    @wraps(host_get_train_args)
    def get_train_args(args: Any = None) -> Any:
        args = parser.read_args(args)
        if not (isinstance(args, list) and {"-h", "--help"} & set(args)):
            use_mca = parser.is_env_enabled("USE_MCA")
            classes = parser._TRAIN_MCA_ARGS if use_mca else parser._TRAIN_ARGS
            known = {entry.name for host_class in classes for entry in fields(host_class) if entry.init}
            warnings = config.check_train(
                config.settings(args, known),
                known=known,
                host_stages=_host_stages(parser.FinetuningArguments),
                allow_extra_keys=parser.is_env_enabled("ALLOW_EXTRA_ARGS"),
                use_mca=use_mca,
                environ=os.environ,
            )
            for warning in warnings:
                parser.logger.warning_rank0(warning)
        return host_get_train_args(args)

    parser.get_train_args = get_train_args


def _host_stages(arguments: type) -> list[str]:
    return [stage for stage in get_args(arguments.__annotations__["stage"]) if stage not in config.STAGES]
