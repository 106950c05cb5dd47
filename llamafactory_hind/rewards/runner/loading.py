"""From the names in `reward_funcs` to functions: registered, `package.module:function`, `path/to/file.py:function`."""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config.types import nearest
from ..registry import get_reward


def find_function(spec: str) -> Callable[..., Any]:
    """Return the function that a specification names.

    Raises:
        ValueError: there is none; the message says what there is.
    """
    if not isinstance(spec, str) or not spec.strip():
        expected = "a registered name, `package.module:function` or `path/to/file.py:function`"
        raise ValueError(f"reward {spec!r}: expected {expected}.")
    place, colon, name = spec.rpartition(":")
    if not colon:
        return get_reward(spec) if not spec.endswith(".py") else _ask_for_function(spec)
    module = _load_file(Path(place).expanduser(), spec) if place.endswith(".py") else _load_module(place, spec)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        named = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = nearest(name, named, at_least=0.5)
        hint = f" Did you mean `{near}`?" if near else ""
        got = "nothing of that name" if function is None else f"a {type(function).__name__}"
        raise ValueError(f"reward {spec!r}: {place} has {got}, expected a function.{hint} It has {_listed(named)}.")
    return function


def name_functions(specs: Sequence[str]) -> list[str]:
    """Return a short name for each specification: that of the function, with the module's where two are the same."""
    short = [spec.rpartition(":")[2] for spec in specs]
    longer = [_with_module(spec) for spec in specs]
    return [
        name if short.count(name) == 1 else other if longer.count(other) == 1 else spec
        for name, other, spec in zip(short, longer, specs, strict=True)
    ]


def _with_module(spec: str) -> str:
    place, colon, name = spec.rpartition(":")
    stem = Path(place).stem if place.endswith(".py") else place
    return f"{stem}:{name}" if colon else name


def _ask_for_function(spec: str) -> Callable[..., Any]:
    raise ValueError(f"reward {spec!r}: got a file, expected `{spec}:function`; name the function in it.")


def _load_file(path: Path, spec: str) -> ModuleType:
    """Import a file under a name of its own: two files of one name do not meet, and a changed one is read again."""
    path = path.resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"reward {spec!r}: cannot read {path} ({reason}); correct the path.") from None
    digest = hashlib.sha256(os.fsencode(path) + b"\0" + content).hexdigest()[:16]
    name = f"llamafactory_hind_reward_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    description = importlib.util.spec_from_file_location(name, path)
    assert description is not None and description.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(description)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        description.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        remedy = "a file cannot import files beside it: make a package and write `package.module:function`"
        hint = f"; {remedy}" if isinstance(error, ImportError) else ""
        raise ValueError(f"reward {spec!r}: {path} cannot be imported: {_described(error)}{hint}.") from error
    return module


def _load_module(name: str, spec: str) -> ModuleType:
    if os.getcwd() not in sys.path:  # a console script has its own folder there instead; last, it shadows nothing
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        remedy = "install it, set PYTHONPATH, or write `path/to/file.py:function`"
        hint = f"; {remedy}" if isinstance(error, ImportError) else ""
        raise ValueError(f"reward {spec!r}: {name} cannot be imported: {_described(error)}{hint}.") from error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "no function"
