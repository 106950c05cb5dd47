"""Functions that a key names: `package.module:function`."""

import importlib
from collections.abc import Callable
from typing import Any


def load_function(spec: str) -> Callable[..., Any]:
    """Return the function that `package.module:function` names.

    Raises:
        ValueError: there is none; the message says why.
    """
    module, colon, name = spec.partition(":")
    if not colon or not module or not name:
        raise ValueError("write it as package.module:function.")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"{module} cannot be imported: {error}.") from None
    if not callable(function):
        raise ValueError(f"{module} has no function {name}.")
    return function  # type: ignore[no-any-return]
