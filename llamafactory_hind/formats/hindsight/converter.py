"""The `hindsight` row format (HinD, arXiv 2511.11132): a question, its gold answers, its reasoning and its knowledge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llamafactory.data.data_utils import Role

from ..converter import RowConverter, extra_columns
from ..fields import read_fields
from . import rows
from .rows import prompt_of, responses_of, tasks_of


@dataclass
class Converter(RowConverter):
    """Turn a `hindsight` row into one example for each of its tasks."""

    ROWS = rows

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield one aligned example for each task of a good row, leaving the row as it is."""
        fields = read_fields(row, self.options)
        media = self._aligned_media(fields)
        for task in tasks_of(fields, self.options):
            responses = responses_of(fields, task, self.options)
            yield {
                "_prompt": [{"role": Role.USER.value, "content": prompt_of(fields, task, self.options)}],
                "_response": [{"role": Role.ASSISTANT.value, "content": text} for text in responses],
                "_system": fields.get("system", ""),
                "_tools": fields.get("tools", ""),
                **media,
                "_columns": extra_columns(fields, task=task),
            }
