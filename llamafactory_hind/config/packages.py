"""Packages that a configuration needs and no install of ours or the host's brings: all that are absent, before anything is loaded."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from .problem import Problem, Words
from .types import as_list


class Needs(NamedTuple):
    """A key with the values that need packages: the names to import and to install."""

    key: str
    asks: Callable[[Any], bool]
    packages: tuple[tuple[str, str], ...]  # (import, install)


def _on(value: object) -> bool:
    return bool(value)


def _named(*names: str) -> Callable[[Any], bool]:
    return lambda value: any(str(entry).lower() in names for entry in as_list(value) or [])


def _begins(*beginnings: str) -> Callable[[Any], bool]:
    return lambda value: str(value).lower().startswith(beginnings)


TRACKERS = ("wandb", "swanlab", "trackio", "tensorboard", "mlflow", "comet_ml", "clearml", "neptune", "dvclive")
NEEDS = (
    *(Needs("report_to", _named(name), ((name, name),)) for name in TRACKERS),
    Needs("use_swanlab", _on, (("swanlab", "swanlab"),)),
    Needs("use_galore", _on, (("galore_torch", "galore-torch"),)),
    Needs("use_apollo", _on, (("apollo_torch", "apollo-torch"),)),
    Needs("use_badam", _on, (("badam", "badam"),)),
    Needs("use_adam_mini", _on, (("adam_mini", "adam-mini"),)),
    Needs("enable_liger_kernel", _on, (("liger_kernel", "liger-kernel"),)),
    Needs("use_unsloth", _on, (("unsloth", "unsloth"),)),
    Needs("deepspeed", _on, (("deepspeed", "llamafactory-hind[deepspeed]"),)),
    Needs("flash_attn", _named("fa2"), (("flash_attn", "llamafactory-hind[flash-attn]"),)),
    Needs(
        "optim",
        _begins("paged_", "adamw_8bit", "adamw_bnb", "lion_8bit", "ademamix"),
        (("bitsandbytes", "bitsandbytes"),),
    ),
    Needs("predict_with_generate", _on, (("jieba", "jieba"), ("nltk", "nltk"), ("rouge_chinese", "rouge-chinese"))),
    Needs("infer_backend", _named("vllm"), (("vllm", "vllm"),)),
    Needs("infer_backend", _named("sglang"), (("sglang", "sglang"),)),
)
QUANTIZERS = {"bnb": "bitsandbytes", "hqq": "hqq", "eetq": "eetq"}  # `quantization_method` -> import and install


def missing_packages(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find the packages that keys ask for and this environment lacks; nothing is imported.

    Args:
        settings: key -> value as given.
    """
    asked = [(need.key, need.packages) for need in NEEDS if settings.get(need.key) and need.asks(settings[need.key])]
    if settings.get("quantization_bit"):
        method = str(settings.get("quantization_method") or "bnb").lower()
        name = QUANTIZERS.get(method, "bitsandbytes")
        asked.append(("quantization_bit", ((name, name),)))
    for key, packages in asked:
        absent = [install for name, install in packages if find_spec(name) is None]
        if absent:
            remedy = f"pip install {' '.join(absent)}"
            yield Problem(key, settings[key], Words(f"{', '.join(absent)} installed"), f"{remedy}; or change the key.")
