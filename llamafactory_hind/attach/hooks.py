"""Every host name that is replaced or extended: where, why, in which host versions, and by which function of ours.

A hook's function gets the host module right after it has run, before any other host module can take names from it.
Standard library only; a hook's function is imported when its module is.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple


class Hook(NamedTuple):
    """One host name we replace or extend."""

    module: str
    name: str
    why: str
    function: str  # in this package, "module:function"
    since: tuple[int, ...] = (0, 9, 4)
    until: tuple[int, ...] = (0, 9, 6)  # not included

    def load(self) -> Callable[[ModuleType], None]:
        """Import the function that applies the hook."""
        module, function = self.function.split(":")
        return getattr(import_module(f"{__package__}.{module}"), function)


HOOKS = (
    Hook(
        "llamafactory.hparams.finetuning_args",
        "FinetuningArguments",
        "`stage` is a closed Literal; our stages' keys become fields of a subclass",
        "arguments:extend_finetuning_arguments",
    ),
    Hook(
        "llamafactory.hparams.data_args",
        "DataArguments",
        "our keys for rows and media become fields of a subclass",
        "arguments:extend_data_arguments",
    ),
    Hook(
        "llamafactory.hparams.parser",
        "read_args",
        "0.9.5 calls json.load on a path, so that no JSON config can be read",
        "arguments:mend_json_configs",
        since=(0, 9, 5),
    ),
    Hook(
        "llamafactory.hparams.parser",
        "get_train_args",
        "it resumes from the checkpoint with the highest number, whole or not; for our stages the choice is ours",
        "resuming:choose_checkpoints_ourselves",
    ),
    Hook(
        "llamafactory.hparams.parser",
        "get_train_args",
        "our checks run before anything is parsed, loaded or initialised, and report everything at once",
        "arguments:check_train_args",
    ),
    Hook(
        "llamafactory.train.tuner",
        "_training_function",
        "the stage is picked in a closed if/elif chain; Ray workers call this function too",
        "dispatch:dispatch_our_stages",
    ),
    Hook(
        "llamafactory.data.parser",
        "DatasetAttr.join",
        "it copies a fixed list of keys; our formats need the whole dataset_info.json entry (`hind_info`)",
        "datasets:keep_dataset_info",
    ),
    Hook(
        "llamafactory.data",
        "converter.DATASET_CONVERTERS",
        "our `formatting:` names, through the host's register_dataset_converter",
        "datasets:register_converters",
    ),
    Hook(
        "llamafactory.data",
        "template.TEMPLATES",
        "`<template>_region`, which write boxes as a model does and draw them, through the host's register_template and "
        "register_mm_plugin",
        "datasets:register_region_templates",
    ),
    Hook(
        "llamafactory.data.loader",
        "align_dataset",
        "converters return fixed columns, every other column is lost; bad rows are reported or skipped",
        "datasets:replace_align_dataset",
    ),
    Hook(
        "llamafactory.data.loader",
        "_load_single_dataset",
        "which dataset is loaded is known here alone; `load_dataset` below needs it",
        "datasets:replace_load_single_dataset",
    ),
    Hook(
        "llamafactory.data.loader",
        "load_dataset",
        "it guesses types (a text that looks like a date becomes one) and names neither file nor row; our rows are read by us",
        "datasets:replace_load_dataset",
    ),
    Hook(
        "llamafactory.data.loader",
        "FILEEXT2TYPE",
        "it refuses kinds of files that we read, such as `.jsonl.gz`, and folders with a hidden file",
        "datasets:take_all_kinds_of_files",
    ),
    Hook(
        "llamafactory.data.loader",
        "_get_merged_dataset",
        "only stage `rm` may read ranking datasets; our pair stages are passed on as `rm`",
        "datasets:replace_get_merged_dataset",
    ),
    Hook(
        "llamafactory.data.loader",
        "_get_dataset_processor",
        "the processor is picked by stage in a closed if/elif chain",
        "datasets:replace_get_dataset_processor",
    ),
    Hook(
        "llamafactory.data.collator",
        "MultiModalDataCollatorForSeq2Seq",
        "a file that is lost in the middle of a run ends it without a row; our marks of rows are taken off here as well",
        "guarding:guard_collators",
    ),
    Hook(
        "llamafactory.train.sft.trainer",
        "CustomSeq2SeqTrainer.save_predictions",
        "a row that stands in for one that could not be read must not be written as its answer",
        "guarding:write_no_stand_ins",
    ),
    Hook(
        "llamafactory.data.mm_plugin",
        "av",
        "a part of a file cannot be named; names such as `v.mp4#t=1.0,7.5` are opened as the clip alone",
        "clips:read_clips",
    ),
    Hook(
        "llamafactory.data.mm_plugin",
        "MMPluginMixin._get_video_sample_indices",
        "a row may record which frames its reasoning was written from",
        "clips:sample_clips",
    ),
    Hook(
        "llamafactory.data.loader",
        "get_dataset",
        "what `align_dataset` is not told: the tokenizer, the limits of media; and whose rows are read decides how media are seen",
        "media:choose_the_way",
    ),
    Hook(
        "llamafactory.data.mm_plugin",
        "MMPluginMixin",
        "its plugins leave photos lying, drop transparency and sample videos by what headers say; media are opened by us",
        "media:see_media_one_way",
    ),
    Hook(
        "llamafactory.extras.constants",
        "TRAINING_STAGES",
        "LLaMA Board's stage menu",
        "board:extend_stage_menu",
    ),
    Hook(
        "llamafactory.extras.constants",
        "STAGES_USE_PAIR_DATA",
        "LLaMA Board's dataset menu shows ranking datasets for our pair stages",
        "board:extend_pair_stages",
    ),
    Hook(
        "llamafactory.webui.common",
        "_clean_cmd",
        "it drops false and null, so `hint_tags: false` could not be said in LLaMA Board",
        "board:keep_false_and_null",
    ),
    Hook(
        "llamafactory.webui.locales",
        "LOCALES",
        "labels and help of our fields, in all languages of the host",
        "board:extend_locales",
    ),
    Hook(
        "llamafactory.webui.control",
        "list_datasets",
        "the menu knows ranking datasets alone; a saved stage that is put back empties the chosen datasets (`change_stage`); "
        "`gen_loss_plot` leaves out a loss of 0",
        "board:extend_control",
    ),
    Hook(
        "llamafactory.webui.components.train",
        "create_train_tab",
        "the only place where fields of the Train tab are made and bound to its events",
        "board:extend_train_tab",
    ),
    Hook(
        "llamafactory.webui.components.footer",
        "create_footer",
        "it is called right behind the host's last tab; our tabs stand there",
        "board:extend_footer",
    ),
    Hook(
        "llamafactory.webui.runner",
        "Runner",
        "our fields become arguments, our checks run before a process starts, saved files hold changed fields alone",
        "board:extend_runner",
    ),
    Hook(
        "llamafactory.launcher",
        "launch",
        "it knows a fixed list of commands",
        "launcher:extend_launch",
    ),
    Hook(
        "llamafactory.launcher",
        "USAGE",
        "`help` lists our commands beside the host's",
        "launcher:extend_usage",
    ),
    Hook(
        "llamafactory.v1.launcher",
        "launch",
        "under USE_V1=1 our commands and stages say in one line that they need the default engine",
        "launcher:refuse_v1",
    ),
)


def hooks_by_module(version: tuple[int, ...]) -> dict[str, list[Hook]]:
    """Return the hooks for a host version, grouped by the module they wait for, in the order of the table."""
    grouped: dict[str, list[Hook]] = {}
    for hook in HOOKS:
        if hook.since <= version < hook.until:
            grouped.setdefault(hook.module, []).append(hook)
    return grouped
