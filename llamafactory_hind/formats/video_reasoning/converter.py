"""`video_reasoning` rows in the host's columns: one example for each task, with the clip that the row names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, cast

from datasets import Value
from llamafactory.data.data_utils import Role

from ..converter import RowConverter, extra_columns
from ..fields import read_fields
from . import rows
from .options import VideoReasoningOptions
from .rows import prompt_of, reply_of, tasks_of


@dataclass
class Converter(RowConverter):
    """Turn a `video_reasoning` row into one example for each of its tasks; `columns` say which (`task`)."""

    ROWS: ClassVar[ModuleType] = rows

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield one aligned example for each task of a good row, leaving the row as it is."""
        options = cast(VideoReasoningOptions, self.options)  # those of `ROWS`
        fields = read_fields(row, options)
        media = self._aligned_media(fields)
        # rewards take null for "does not apply"; the model counts seconds from the start of its clip
        start = fields.get("start")
        columns = dict.fromkeys(_named_columns(row, options)) | fields
        columns["clip_start"] = start if isinstance(start, int | float) else 0.0
        for task in tasks_of(fields, options):
            yield {
                "_prompt": [{"role": Role.USER.value, "content": prompt_of(fields, task, options)}],
                "_response": [{"role": Role.ASSISTANT.value, "content": reply_of(fields, task, options)}],
                "_system": fields.get("system", ""),
                "_tools": fields.get("tools", ""),
                **media,
                "_columns": extra_columns(columns, task=task),
            }

    def media_type(self, kind: str, stored: Any) -> Any:
        """Return text for videos that are lists of paths: a clip has one name."""
        pictures = stored[0] if isinstance(stored, list) else getattr(stored, "feature", None)
        return Value("string") if kind == "videos" and pictures == Value("string") else stored


def _named_columns(row: Mapping[str, Any], options: VideoReasoningOptions) -> list[str]:
    """Return our names of the columns of a row."""
    names = {column: field for field, column in options.columns}
    return [names.get(column, column) for column in row]
