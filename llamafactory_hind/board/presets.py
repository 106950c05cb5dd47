"""The YAMLs of `yaml_configs/` as presets of the Train tab: what a file says stands in the form, and nothing else changes a run.

They are outside the package. In a checkout they lie beside it; an installed wheel brings them as data
(`share/llamafactory_hind/yaml_configs` of the environment), and its list of files says where.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..config.command import read_settings
from ..config.problem import ConfigError
from .fields import fields_of
from .values import shown, typed


FOLDER = "yaml_configs"
DISTRIBUTION = "llamafactory-hind"
# Left to the user, or what the Board says itself of every run.
NOT_OF_THE_FORM = {
    "stage", "do_train", "model_name_or_path", "adapter_name_or_path", "template", "output_dir", "overwrite_output_dir",
}  # fmt: skip
SAID_BY_THE_BOARD = {"plot_loss": True, "trust_remote_code": True, "preprocessing_num_workers": 16}
PLAIN = {  # key -> element of the Train tab that holds it as it is
    "dataset_dir", "cutoff_len", "gradient_accumulation_steps", "lr_scheduler_type", "logging_steps", "save_steps",
    "warmup_steps", "report_to", "mask_history", "lora_rank", "lora_alpha", "lora_dropout", "lora_target",
}  # fmt: skip
FROZEN = {"freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model"}
TEXTS = {"learning_rate", "num_train_epochs", "max_grad_norm", "max_samples"}  # numbers that the host holds as text
PIXELS = {"image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels"}
# What a YAML that does not say it means, where the Board's form begins with something else.
UNSAID = {
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 8,
    "lr_scheduler_type": "linear",
    "logging_steps": 500,
    "save_steps": 500,
}
LEAST = {"save_steps": 10}  # of a slider; less goes into the box of extra arguments


@cache
def preset_files() -> dict[str, Path]:
    """Return name -> file of all YAMLs that come with the package; none where it was installed without them."""
    beside = Path(__file__).resolve().parents[2] / FOLDER
    if beside.is_dir():
        return {path.relative_to(beside).as_posix(): path for path in sorted(beside.rglob("*.yaml"))}
    try:
        listed = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for entry in listed:
        if FOLDER in entry.parts and entry.suffix == ".yaml":
            name = "/".join(entry.parts[entry.parts.index(FOLDER) + 1 :])
            found[name] = Path(str(entry.locate()))
    return dict(sorted(found.items()))


@cache
def read_preset(name: str) -> Mapping[str, Any]:
    """Return the keys of a preset; none where it cannot be read."""
    try:
        return read_settings([str(preset_files()[name])], usage="")
    except (ConfigError, KeyError):
        return {}


def presets_for(key: str, value: str) -> list[str]:
    """Return the names of the presets in which a key (`stage`, `pipeline`) has a value."""
    return [name for name in preset_files() if read_preset(name).get(key) == value]


def form_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form holds so that the Board writes what a YAML says: element id -> value.

    Args:
        settings: keys of the YAML, with a stage of ours. The model, its template and the output folder are the user's.
    """
    said = {key: value for key, value in settings.items() if key not in NOT_OF_THE_FORM}
    said = {key: value for key, value in said.items() if SAID_BY_THE_BOARD.get(key) != value}
    form: dict[str, Any] = {}
    for field in fields_of(settings["stage"]):
        form[f"train.{field.name}"] = typed(field, said.pop(field.key)) if field.key in said else shown(field)
    said = {**UNSAID, **said}
    form["top.finetuning_type"] = said.pop("finetuning_type", "lora")
    form["train.dataset"] = [part.strip() for part in str(said.pop("dataset", "")).split(",") if part.strip()]
    form["train.compute_type"] = _compute_type(said)
    if "lora_rank" in said:
        said.setdefault("lora_alpha", 2 * said["lora_rank"])  # of the command line; the form would say 16
    form |= _evaluation(said)
    form["train.batch_size"] = said.pop("per_device_train_batch_size")
    for key in sorted(said.keys() & (PLAIN | TEXTS | PIXELS | FROZEN)):
        if key in LEAST and said[key] < LEAST[key]:
            continue
        form[f"train.{key}"] = said[key] if key in PLAIN | FROZEN else str(said[key])
        if key in PLAIN | TEXTS:  # the host reads the others for models that it knows, and for no others
            del said[key]
    form["train.extra_args"] = json.dumps(said, ensure_ascii=False)
    return form


def _compute_type(said: dict[str, Any]) -> str:
    flags = {name: said.pop(name, False) for name in ("pure_bf16", "bf16", "fp16")}
    return next((name for name, on in flags.items() if on), "fp32")


def _evaluation(said: dict[str, Any]) -> dict[str, Any]:
    """Take the share of validation rows where the host adds the same as the YAML to it; else all stays extra arguments."""
    adds = {
        "eval_strategy": "steps",
        "eval_steps": said["save_steps"],
        "per_device_eval_batch_size": said["per_device_train_batch_size"],
    }
    if said.get("val_size") and all(said.get(key) == value for key, value in adds.items()):
        for key in adds:
            del said[key]
        return {"train.val_size": said.pop("val_size")}
    return {"train.val_size": 0}
