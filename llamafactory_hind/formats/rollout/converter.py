"""The `rollout` row format: prompts for the online stages, with gold answers, external texts and hints beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from llamafactory.data.data_utils import Role

from ..converter import RowConverter, extra_columns
from ..fields import read_fields
from . import rows
from .rows import response_of, turns_of


@dataclass
class Converter(RowConverter):
    """Turn a `rollout` row into one example; the host's own stages read the gold answer as the assistant turn."""

    ROWS: ClassVar[ModuleType] = rows

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the one example of a good row, leaving the row as it is."""
        fields = read_fields(row, self.options)
        system, turns = turns_of(fields)
        response = response_of(fields, self.options)
        yield {
            "_prompt": turns,
            "_response": [{"role": Role.ASSISTANT.value, "content": response}] if response else [],
            "_system": system,
            "_tools": fields.get("tools", ""),
            **self._aligned_media(fields),
            "_columns": extra_columns(self._all_columns(row) | fields),
        }

    def _all_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return our names of the columns of a row with None: a reward takes null for "does not apply", a gap for an error."""
        names = {column: field for field, column in self.options.columns}
        return {names.get(column, column): None for column in row}
