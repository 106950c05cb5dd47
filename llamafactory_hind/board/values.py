"""From what a form holds to what YAML says; only what was changed is written."""

import math
from collections.abc import Mapping
from typing import Any

from .fields import Field, fields_of


NULL = "null"  # typed into a text field where null differs from the default


def shown(field: Field) -> Any:
    """Return what an untouched field holds."""
    if field.default is None:
        return {"list": [], "choice": None}.get(field.kind, "")  # a menu refuses a text that it does not list
    if field.kind in ("flag", "choice", "list"):
        return field.default
    if field.kind == "numbers":
        return ", ".join(f"{number:g}" for number in field.default)
    return str(field.default)


def read(field: Field, value: Any) -> Any:
    """Return the YAML value of what a form holds; the default for an untouched or empty field.

    Raises:
        ValueError: a number that is none; says the key, what is there and what is expected.
    """
    if field.kind == "flag":
        return bool(value)
    if field.kind == "list":
        words = value if isinstance(value, list) else [] if value is None else [value]
        return [str(word) for word in words] or field.default
    text = "" if value is None else str(value).strip()
    if not text or text == shown(field):
        return field.default
    if text == NULL and field.nullable:
        return None
    if field.kind == "numbers":
        return [_number(field, part.strip(), whole=False) for part in text.strip("[]").split(",")]
    if field.kind in ("whole", "number"):
        return _number(field, text, whole=field.kind == "whole")
    return text


def typed(field: Field, value: Any) -> Any:
    """Return what a form holds for a YAML value: `read` gives it back."""
    if value == field.default:
        return shown(field)
    if value is None:
        return NULL if field.default is not None else shown(field)
    if field.kind == "list":
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else list(map(str, value))
    if field.kind == "numbers":
        return ", ".join(map(str, value if isinstance(value, list) else [value]))
    return value if field.kind in ("flag", "choice") else str(value)


def is_changed(field: Field, value: Any) -> bool:
    """Say whether a form holds something else than an untouched field; a text that is no number counts."""
    try:
        return bool(read(field, value) != field.default)
    except ValueError:
        return True


def changed(values: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the keys of a stage whose field differs from its default, as YAML values; `values` has what the fields hold."""
    found = {field.key: (field, read(field, values[field.key])) for field in fields_of(stage) if field.key in values}
    return {key: value for key, (field, value) in found.items() if value != field.default}


def _number(field: Field, text: str, *, whole: bool) -> int | float:
    try:
        number = float({".inf": "inf", "-.inf": "-inf"}.get(text, text))
    except ValueError:
        number = math.nan
    expected = "a whole number" if whole else "a number"
    if math.isnan(number) or (whole and (math.isinf(number) or number != int(number))):
        raise ValueError(
            f"{field.key}: got {text!r}, expected {expected}. Change the field, or empty it for the default."
        )
    return int(number) if whole else number
