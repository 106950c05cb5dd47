"""Fields of a row, whatever the format."""

import json
from collections.abc import Mapping
from typing import Any

from .options import RowOptions


def is_missing(value: Any) -> bool:
    """Say whether a value is None, blank text or an empty list; `datasets` fills absent keys with None."""
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, list) and not value)


def entries_of(fields: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that is a list; an empty one where it is missing, also where a blank text, as of CSV, says so."""
    return [] if is_missing(fields.get(name)) else fields[name]


def as_list(value: Any) -> list[Any]:
    """Return a media field as a list; the host, too, takes one medium without its list."""
    if is_missing(value):
        return []
    return value if isinstance(value, list) else [value]


def read_columns(text: str | None) -> dict[str, Any]:
    """Return the other columns of a row, which travel through the host's processing as one JSON text."""
    columns: dict[str, Any] = json.loads(text or "{}")
    return columns


def columns_of(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return the other columns of a processed row; none where it has none."""
    return read_columns(feature.get("columns"))


def read_fields(row: Mapping[str, Any], options: RowOptions) -> dict[str, Any]:
    """Return a new dict of the row with our names for renamed columns and without what is None."""
    names = {column: field for field, column in options.columns}
    fields = {names.get(column, column): value for column, value in row.items()}
    # A column that has the name of a field whose place another column took would shadow it.
    fields |= {field: row.get(column) for field, column in options.columns}
    return {field: value for field, value in fields.items() if value is not None}
