"""A model that DeepSpeed ZeRO-3 has split over processes: its weights gathered, and its hooks put aside.

DeepSpeed gathers the weights of a module by hooks around its forward pass, and splits them again behind it. With the weights
gathered and the hooks aside, a pass needs no other process.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.integrations import deepspeed as integration


HOOKS = ("_forward_pre_hooks", "_forward_hooks")


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Let every process read whole models while the block runs; DeepSpeed splits the policy when its engine is made.

    transformers splits each model that is loaded while ZeRO-3 is asked for: teachers, too, and a policy whose shared prompts are
    to be proved first.
    """
    asked = integration._hf_deepspeed_config_weak_ref
    integration._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        if integration._hf_deepspeed_config_weak_ref is None:
            integration._hf_deepspeed_config_weak_ref = asked


def is_split(model: nn.Module) -> bool:
    """Whether ZeRO-3 has split a model."""
    return next(_split_parameters(model), None) is not None


def is_elsewhere(model: nn.Module) -> bool:
    """Whether weights of a model are on other processes at this moment."""
    return any(_is_away(weight) for weight in _split_parameters(model))


def keep_whole(modules: Iterable[nn.Module]) -> None:
    """Gather frozen modules and take DeepSpeed's hooks off them; a step of the optimiser and saving split them again."""
    modules = list(modules)
    for part in modules:
        for module in part.modules():
            _take_hooks(module)
    _gather([weight for part in modules for weight in part.parameters()])


@contextmanager
def gathered(model: nn.Module, kept: Iterable[nn.Module] = ()) -> Iterator[None]:
    """Gather all weights of a model on every process while the block runs; every process must enter it equally often.

    Args:
        model: split.
        kept: its modules that stay whole.
    """
    left = {id(weight) for part in kept for weight in part.parameters()}
    away = [weight for weight in _split_parameters(model) if _is_away(weight) and id(weight) not in left]
    aside = [(module, _take_hooks(module)) for module in model.modules()]
    _gather(away)
    try:
        yield
    finally:
        if away:
            away[0].partition(param_list=away, has_been_updated=False)
        for module, taken in aside:
            for name, hooks in taken.items():
                getattr(module, name).update(hooks)


def _gather(weights: list[Any]) -> None:
    away = sorted({weight for weight in weights if _is_away(weight)}, key=lambda weight: weight.ds_id)
    if away:
        away[0].all_gather(param_list=away)


def _take_hooks(module: nn.Module) -> dict[str, dict[int, Any]]:
    """Remove DeepSpeed's hooks from a module; return them in their order."""
    taken = {}
    for name in HOOKS:
        hooks = getattr(module, name)
        taken[name] = {key: hook for key, hook in hooks.items() if hook.__module__.startswith("deepspeed.")}
        for key in taken[name]:
            del hooks[key]
    return taken


def _split_parameters(model: nn.Module) -> Iterator[Any]:
    return (weight for weight in model.parameters() if hasattr(weight, "ds_id"))


def _is_away(weight: Any) -> bool:
    return hasattr(weight, "ds_status") and weight.ds_status.name != "AVAILABLE"
