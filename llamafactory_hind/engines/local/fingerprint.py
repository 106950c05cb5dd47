"""What decides a model's log-probs beside its weights: configuration, adapters, attention, versions, how media become tensors.

Caches of numbers and texts carry it, so that a result of another model under the same name is not taken for this one's. Where
things are kept (paths) is not part of it.
"""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from ...formats.media.host_view import WAY
from .scoring import base_model, unwrap


if TYPE_CHECKING:
    from transformers import ProcessorMixin

PACKAGES = ("torch", "transformers", "peft", "llamafactory")
# Keys of a configuration that say where it came from or what training does, not what the model computes. The commit of a model
# from the hub stays: its name alone does not say which weights it has.
ELSEWHERE = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "base_model_name_or_path",
    "inference_mode",
    "revision",
    "use_cache",
    "auto_mapping",
    "architectures",
}
MEDIA_PARTS = ("image_processor", "video_processor", "feature_extractor")


def model_settings(model: torch.nn.Module, *, adapters: bool = True) -> dict[str, Any]:
    """Return what decides a model's log-probs beside its weights, as JSON can write it.

    Args:
        model: wrapped or not.
        adapters: they speak; False where the base computes without them.
    """
    inner, outer = base_model(model), unwrap(model)
    config = inner.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    settings = {
        "config": _clean(config.to_dict()),
        "commit": getattr(config, "_commit_hash", None),
        "attention": [getattr(part, "_attn_implementation", None) for part in (config, text)],
        "dtype": str(inner.dtype),
        "versions": versions(),
    }
    if adapters and isinstance(outer, PeftModel):
        configs = {name: _clean(outer.peft_config[name].to_dict()) for name in outer.active_adapters}
        settings["adapters"] = configs
    return json.loads(json.dumps(settings, sort_keys=True, default=str))


def processor_settings(processor: "ProcessorMixin | None") -> dict[str, Any]:
    """Return how pictures, video and sound become tensors: the processor's own settings and those that the host puts on it."""
    if processor is None:
        return {}
    # what opens a file, beside what is made of the open picture
    settings: dict[str, Any] = {"way": WAY}
    parts = {name: getattr(processor, name, None) for name in MEDIA_PARTS}
    settings |= {name: _clean(part.to_dict()) for name, part in parts.items() if part is not None}
    own = {name: value for name, value in vars(processor).items() if isinstance(value, int | float | str | bool)}
    settings["own"] = _clean({name: value for name, value in own.items() if name != "chat_template"})
    return json.loads(json.dumps(settings, sort_keys=True, default=str))


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {name: _version(name) for name in PACKAGES}


def digest_settings(settings: Any) -> str:
    """Return a digest of settings, for a header."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _clean(value: Any) -> Any:
    """Return settings without where they came from, in an order of their own."""
    if isinstance(value, dict):
        return {str(key): _clean(value[key]) for key in sorted(value, key=str) if key not in ELSEWHERE}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return [_clean(part) for part in value] if isinstance(value, list | tuple) else value
