"""Vision and audio towers that are not trained: what they make of the same picture is computed once a step."""

import copy
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from llamafactory.model.model_utils.visual import COMPOSITE_MODELS
from torch import nn

from .pictures import Inseparable, Pictures, close, cut, fingerprints, joined, pictures_of
from .scoring import base_model


def frozen_towers(model: nn.Module) -> list[nn.Module]:
    """Return the media towers of a model of which no parameter is trained.

    The host names parts of towers by their paths (`visual.patch_embed`, `model.vision_tower`); the tower is the largest
    module around such a path that does not hold the embeddings of words.
    """
    inner = base_model(model)
    known = COMPOSITE_MODELS.get(getattr(inner.config, "model_type", ""))
    if known is None:
        return []
    modules, words = dict(inner.named_modules()), inner.get_input_embeddings()
    names = [name for name in modules for key in known.vision_model_keys if f".{name}".endswith(f".{key}")]
    towers = {id(tower): tower for name in names if (tower := _around(name, modules, words)) is not None}
    return [tower for tower in towers.values() if not any(entry.requires_grad for entry in tower.parameters())]


def _around(name: str, modules: dict[str, nn.Module], words: nn.Module) -> nn.Module | None:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = modules[".".join(parts[:length])]
        if not any(other is words for other in module.modules()):
            return module
    return None


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


@dataclass(frozen=True)
class _Call:
    """A call of a tower, its result, and its pictures where they can be separated."""

    tower: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    pictures: Pictures | None
    prints: list[Hashable]


class TowerCache:
    """Remembers what frozen towers returned for which tensors, until it is cleared.

    A call is answered whole, or put together from what was computed for its pictures in other calls. The latter once it is
    proved for a tower: the first call that could be put together is computed as well, and both must agree.

    Args:
        models: whose towers; those that are trained stay as they are.
    """

    def __init__(self, *models: nn.Module) -> None:
        """Find the towers, remember nothing."""
        self.towers = list({id(tower): tower for model in models for tower in frozen_towers(model)}.values())
        self._calls: list[_Call] = []
        self._places: dict[tuple[int, Hashable], list[tuple[_Call, int]]] = {}  # of pictures in calls
        self._separable: dict[int, bool] = {}  # id of a tower -> whether its pictures can be put together

    def clear(self) -> None:
        """Forget everything but what is known about the towers."""
        self._calls.clear()
        self._places.clear()

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

    def _remembering(self, tower: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        @torch.no_grad()
        def call(*args: Any, **kwargs: Any) -> Any:
            for known in self._calls:
                if known.tower is tower and _same(args, known.args) and _same(kwargs, known.kwargs):
                    return copy.copy(known.result)
            pictures, prints = self._apart(tower, forward, args, kwargs)
            found = [self._find(tower, *one) for one in zip(pictures.each, prints, strict=True)] if pictures else []
            if any(found) and self._separable.get(id(tower)):
                return self._put_together(tower, forward, pictures, prints, found)
            result = forward(*args, **kwargs)
            if any(found):
                self._judge(tower, result, pictures, prints, found)
            self._remember(_Call(tower, args, kwargs, copy.copy(result), pictures, prints))
            return result  # models write into what they are given

        return call

    def _apart(
        self, tower: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Pictures | None, list[Hashable]]:
        if self._separable.get(id(tower), True):
            try:
                pictures = pictures_of(forward, args, kwargs)
                return pictures, fingerprints(pictures)
            except Inseparable:
                self._separable[id(tower)] = False
        return None, []

    def _remember(self, call: _Call) -> None:
        self._calls.append(call)
        for number, one in enumerate(call.prints):
            self._places.setdefault((id(call.tower), one), []).append((call, number))

    def _find(self, tower: nn.Module, picture: dict[str, Any], fingerprint: Hashable) -> tuple[_Call, int] | None:
        places = self._places.get((id(tower), fingerprint), [])
        return next((place for place in places if _same(picture, place[0].pictures.each[place[1]])), None)

    def _put_together(
        self,
        tower: nn.Module,
        forward: Callable[..., Any],
        pictures: Pictures,
        prints: list[Hashable],
        found: list[tuple[_Call, int] | None],
    ) -> Any:
        """Return the result for pictures of which some are known; those that are not are computed together."""
        new: list[int] = []
        for number, place in enumerate(found):
            if place is None and not any(_same(pictures.each[number], pictures.each[other]) for other in new):
                new.append(number)
        if new:
            some = pictures.some(new)
            arguments = some.arguments()
            result = forward(**arguments)
            self._remember(_Call(tower, (), arguments, result, some, [prints[number] for number in new]))
            found = [self._find(tower, *one) for one in zip(pictures.each, prints, strict=True)]
        return joined([_of_picture(place) for place in found])

    def _judge(
        self,
        tower: nn.Module,
        result: Any,
        pictures: Pictures,
        prints: list[Hashable],
        found: list[tuple[_Call, int] | None],
    ) -> None:
        """Compare a result with what is known of its pictures from calls with other pictures beside them."""
        different = [(n, place) for n, place in enumerate(found) if place and set(place[0].prints) != set(prints)]
        if not different:
            return  # pictures that see each other would not show
        try:
            own = cut(result, pictures.counts)
            self._separable[id(tower)] = all(close(_of_picture(place), own[number]) for number, place in different)
        except Inseparable:
            self._separable[id(tower)] = False


def _of_picture(place: tuple[_Call, int]) -> Any:
    call, number = place
    return cut(call.result, call.pictures.counts)[number]


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
