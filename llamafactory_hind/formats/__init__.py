"""Rows to tokens and media. A folder with `rows.py` is a `formatting:` name.

`rows` is pure: fields, options, problems. `converter` fills the host's columns. `align` checks and converts, `processors` tokenise,
`media` opens files, `prompts` holds every wording, `texts` reads what models write.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .converter import RowConverter


@cache
def format_names() -> list[str]:
    """Return the `formatting:` names that have a folder here."""
    folders = sorted(entry.name for entry in iter_modules(__path__) if entry.ispkg)
    return [name for name in folders if find_spec(f"{__name__}.{name}.rows")]


def get_rows(name: str) -> ModuleType:
    """Import what is pure of a format.

    The module has `read_options(info, name=)`, `find_problems(fields, options)`, `question_problems(fields)`, `question_of(fields)`
    and `response_of(fields, options)`.
    """
    return import_module(f"{__name__}.{name}.rows")


def get_converters() -> "dict[str, type[RowConverter]]":
    """Import the converter of every format; they need LLaMA-Factory."""
    return {name: import_module(f"{__name__}.{name}.converter").Converter for name in format_names()}
