"""The `hindsight` row format (HinD, arXiv 2511.11132): a question, its gold answers, its reasoning and its knowledge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, cast

from llamafactory.data.data_utils import Role

from ..converter import RowConverter, extra_columns
from ..fields import read_fields
from . import rows
from .options import HindsightOptions
from .rows import prompt_of, responses_of, tasks_of


@dataclass
class Converter(RowConverter):
    """Turn a `hindsight` row into one example for each of its tasks."""

    ROWS: ClassVar[ModuleType] = rows

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield one aligned example for each task of a good row, leaving the row as it is."""
        options = cast(HindsightOptions, self.options)  # those of `ROWS`
        fields = read_fields(row, options)
        media = self._aligned_media(fields)
        for task in tasks_of(fields, options):
            responses = responses_of(fields, task, options)
            yield {
                "_prompt": [{"role": Role.USER.value, "content": prompt_of(fields, task, options)}],
                "_response": [{"role": Role.ASSISTANT.value, "content": text} for text in responses],
                "_system": fields.get("system", ""),
                "_tools": fields.get("tools", ""),
                **media,
                "_columns": extra_columns(fields, task=task),
            }
