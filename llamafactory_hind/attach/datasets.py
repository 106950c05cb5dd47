"""The host's data loading, opened for our formats. What a format does is in `formats`, imported when it is needed."""

from functools import wraps
from types import MappingProxyType, ModuleType
from typing import Any

from .. import config


def keep_dataset_info(parser: ModuleType) -> None:
    """Keep the whole dataset_info.json entry of a dataset as `hind_info`; it is empty for datasets without an entry."""
    host_join = parser.DatasetAttr.join

    @wraps(host_join)
    def join(self: Any, attr: dict[str, Any]) -> None:
        host_join(self, attr)
        self.hind_info = dict(attr)

    parser.DatasetAttr.join = join
    parser.DatasetAttr.hind_info = MappingProxyType({})


def register_converters(data: ModuleType) -> None:
    """Register our `formatting:` names with the host."""
    from ..formats import get_converters

    for name, converter in get_converters().items():
        if data.converter.DATASET_CONVERTERS.get(name) is not converter:  # it is there after importlib.reload
            data.converter.register_dataset_converter(name, converter)


def register_region_templates(data: ModuleType) -> None:
    """Register `blip2`, which the host lacks, and `<template>_region` for every template that takes pictures."""
    from ..formats.templates.blip2 import register_blip2
    from ..formats.templates.register import register_templates

    register_blip2(data.template, data.mm_plugin)
    register_templates(data.template, data.mm_plugin)


def replace_align_dataset(loader: ModuleType) -> None:
    """Let our formats align their own datasets; the host's formats still go to the host."""
    host_align = loader.align_dataset

    @wraps(host_align)
    def align_dataset(dataset: Any, dataset_attr: Any, data_args: Any, training_args: Any) -> Any:
        from ..formats.align.dataset import align_dataset as align

        return align(host_align, dataset, dataset_attr, data_args, training_args)

    loader.align_dataset = align_dataset


def replace_load_single_dataset(loader: ModuleType) -> None:
    """Note which dataset is loaded, so that `load_dataset` can read rows of ours, once its files are known to be some."""
    host_load = loader._load_single_dataset

    @wraps(host_load)
    def _load_single_dataset(dataset_attr: Any, model_args: Any, data_args: Any, training_args: Any) -> Any:
        from ..formats.align.tables import LOADING, check_files, is_ours

        ours = is_ours(dataset_attr, data_args)
        if ours:
            check_files(dataset_attr, data_args)
        token = LOADING.set((dataset_attr, data_args, model_args) if ours else None)
        try:
            return host_load(dataset_attr, model_args, data_args, training_args)
        finally:
            LOADING.reset(token)

    loader._load_single_dataset = _load_single_dataset


def replace_load_dataset(loader: ModuleType) -> None:
    """Read local rows of ours ourselves; everything else is left to `datasets`."""
    host_load_dataset = loader.load_dataset

    @wraps(host_load_dataset)
    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        from ..formats.align.tables import LOADING, load_rows

        loading = LOADING.get()
        return host_load_dataset(*args, **kwargs) if loading is None else load_rows(*loading)

    loader.load_dataset = load_dataset


def take_all_kinds_of_files(loader: ModuleType) -> None:
    """Let every file of rows of ours pass: the host knows fewer kinds, and takes what is no part of a folder for one."""

    class Kinds(dict[str, str]):
        """The host's kinds by ending; while rows of ours are loaded, one kind for all."""

        def get(self, ending: str, default: Any = None) -> Any:
            from ..formats.align.tables import LOADING

            return super().get(ending, default) if LOADING.get() is None else "json"

    loader.FILEEXT2TYPE = Kinds(loader.FILEEXT2TYPE)


def replace_get_merged_dataset(loader: ModuleType) -> None:
    """Pass our pair stages to the host as `rm`, the stage of ranking datasets; note the rows of ours, and an evaluation."""
    host_merged = loader._get_merged_dataset

    @wraps(host_merged)
    def _get_merged_dataset(
        dataset_names: Any, model_args: Any, data_args: Any, training_args: Any, stage: str, return_dict: bool = False
    ) -> Any:
        from ..formats.align.tables import FOR_EVALUATION, KIND_OF_ROWS

        token = KIND_OF_ROWS.set(config.ROWS.get(stage))
        in_evaluation = FOR_EVALUATION.set(dataset_names is data_args.eval_dataset)
        try:
            host_stage = "rm" if stage in config.PAIR_STAGES else stage
            return host_merged(dataset_names, model_args, data_args, training_args, host_stage, return_dict)
        finally:
            KIND_OF_ROWS.reset(token)
            FOR_EVALUATION.reset(in_evaluation)

    loader._get_merged_dataset = _get_merged_dataset


def replace_get_dataset_processor(loader: ModuleType) -> None:
    """Build our processor for our stages."""
    host_processor = loader._get_dataset_processor

    @wraps(host_processor)
    def _get_dataset_processor(
        data_args: Any, stage: str, template: Any, tokenizer: Any, processor: Any, do_generate: bool = False
    ) -> Any:
        if stage not in config.STAGES:
            from ..formats.align.run import RUN
            from ..formats.processors.guarding import GuardedProcessor

            run, theirs = RUN.get(), host_processor(data_args, stage, template, tokenizer, processor, do_generate)
            return GuardedProcessor(theirs) if run is not None and run.ours else theirs
        from ..formats.processors import PROCESSORS

        processor_class = PROCESSORS[config.ROWS[stage]]
        return processor_class(template=template, tokenizer=tokenizer, processor=processor, data_args=data_args)

    loader._get_dataset_processor = _get_dataset_processor
