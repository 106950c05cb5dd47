"""The `rollout` row format: prompts for the online stages, with gold answers, external texts and hints beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llamafactory.data.data_utils import Role

from ...config.problem import RowProblem
from ..fields import read_fields
from ..hindsight.converter import HindsightConverter, extra_columns
from ..media.check import MediaCheck
from ..media.fields import MEDIA_FIELDS
from .rows import RolloutOptions, find_rollout_problems, read_rollout_options, turns_of


@dataclass
class RolloutConverter(HindsightConverter):
    """Turn a `rollout` row into the host's standard columns, with all its other fields as JSON in `_columns`.

    The host's own stages read the gold answer, where it is text or a number, as the assistant turn.

    Raises:
        ValueError: the `dataset_info.json` entry is wrong.
    """

    def __post_init__(self) -> None:
        """Read the options."""
        info = getattr(self.dataset_attr, "hind_info", None) or {}
        self.options: RolloutOptions = read_rollout_options(info, name=self.dataset_attr.dataset_name)

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the one example of a good row, leaving the row as it is."""
        fields = read_fields(row, self.options)
        system, turns = turns_of(fields)
        answer = fields.get("answer")
        is_number = isinstance(answer, (int, float)) and not isinstance(answer, bool)
        response = str(answer) if is_number or (isinstance(answer, str) and answer.strip()) else None
        yield {
            "_prompt": turns,
            "_response": [{"role": Role.ASSISTANT.value, "content": response}] if response else [],
            "_system": system,
            "_tools": fields.get("tools", ""),
            **{f"_{kind}": self._media(fields.get(kind)) for kind in MEDIA_FIELDS},
            "_columns": extra_columns(self._all_columns(row) | fields),
        }

    def _all_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return our names of the columns of a row with None: a reward takes null for "does not apply", a gap for an error."""
        names = {column: field for field, column in self.options.columns}
        return {names.get(column, column): None for column in row}

    def problems(self, row: Mapping[str, Any], media: MediaCheck) -> Iterator[RowProblem]:
        """Yield everything that is wrong with a row."""
        fields = read_fields(row, self.options)
        yield from find_rollout_problems(fields)
        yield from self.media_problems(fields, media)
