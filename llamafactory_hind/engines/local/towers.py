"""Vision and audio towers that are not trained: what they make of the same picture is computed once a step."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from llamafactory.model.model_utils.visual import COMPOSITE_MODELS
from torch import nn

from .scoring import base_model


def frozen_towers(model: nn.Module) -> list[nn.Module]:
    """Return the media towers of a model of which no parameter is trained."""
    inner = base_model(model)
    known = COMPOSITE_MODELS.get(getattr(inner.config, "model_type", ""))
    names = {key.partition(".")[0] for key in known.vision_model_keys} if known is not None else set()
    towers = [module for name, module in inner.named_modules() if name.rpartition(".")[2] in names]
    return [tower for tower in towers if not any(entry.requires_grad for entry in tower.parameters())]


def share_frozen(model: nn.Module, reference: nn.Module) -> int:
    """Let a reference use the modules of `model` that are frozen and equal to its own; return the parameters saved."""
    saved = 0
    for name, ours in model.named_children():
        theirs = getattr(reference, name, None)
        if not isinstance(theirs, nn.Module) or theirs is ours or type(theirs) is not type(ours):
            continue
        parameters = list(ours.parameters())
        if parameters and not any(entry.requires_grad for entry in parameters) and _equal(ours, theirs):
            setattr(reference, name, ours)
            saved += sum(entry.numel() for entry in parameters)
        else:
            saved += share_frozen(ours, theirs)
    return saved


def _equal(ours: nn.Module, theirs: nn.Module) -> bool:
    own, other = ours.state_dict(), theirs.state_dict()
    return own.keys() == other.keys() and all(
        tensor.shape == other[name].shape
        and tensor.dtype == other[name].dtype
        and torch.equal(tensor, other[name].to(tensor.device))
        for name, tensor in own.items()
    )


class TowerCache:
    """Remembers what frozen towers returned for which tensors, until it is cleared.

    Args:
        models: whose towers; those that are trained stay as they are.
    """

    def __init__(self, *models: nn.Module) -> None:
        """Find the towers, remember nothing."""
        self.towers = list({id(tower): tower for model in models for tower in frozen_towers(model)}.values())
        self._kept: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]] = []

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Answer the calls of the towers from memory while the block runs."""
        hidden = [(tower, tower.__dict__.get("forward")) for tower in self.towers]
        for tower, _ in hidden:
            tower.forward = self._remembering(tower, tower.forward)
        try:
            yield
        finally:
            for tower, own_forward in hidden:
                if own_forward is None:
                    del tower.forward
                else:
                    tower.forward = own_forward

    def _remembering(self, tower: nn.Module, forward: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            for owner, known_args, known_kwargs, found in self._kept:
                if owner is tower and _same(args, known_args) and _same(kwargs, known_kwargs):
                    return copy.copy(found)
            with torch.no_grad():
                found = forward(*args, **kwargs)
            self._kept.append((tower, args, kwargs, copy.copy(found)))  # models write into what they are given
            return found

        return call


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments are equal, tensors by their content."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one is other or (
            one.shape == other.shape
            and one.dtype == other.dtype
            and one.device == other.device
            and torch.equal(one, other)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_same(first, second) for first, second in zip(one, other, strict=True))
    return bool(one == other)
