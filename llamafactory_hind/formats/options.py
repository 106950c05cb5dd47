"""What every `dataset_info.json` entry of ours may say, whatever the format."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.types import nearest


HOST_KEYS = (
    *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"),
    *("formatting", "subset", "split", "folder", "num_samples", "tags"),
)


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """The options of one dataset.

    Attributes:
        target: field that becomes the assistant turn, or the format's word for several.
        skip_bad_rows: leave bad rows of this dataset out instead of refusing it.
        columns: our field -> column of the dataset, where they differ.
    """

    target: str = "answer"
    skip_bad_rows: bool = False
    columns: tuple[tuple[str, str], ...] = ()

    def column(self, field: str) -> str:
        """Return the column of the dataset that holds `field`."""
        return dict(self.columns).get(field, field)


def misspelt_keys(info: Mapping[str, Any], ours: Collection[str]) -> list[str]:
    """Return one line for each key of an entry that looks like a misspelt key of ours.

    The host ignores keys it does not know, and people leave notes in this file: only what looks like one of ours is refused.
    """
    problems = []
    for key in info:
        near = nearest(key, ours, at_least=0.75)
        if key not in ours and key not in HOST_KEYS and near:
            problems.append(f"{key}: unknown key; did you mean `{near}`")
    return problems


def wrong_flags(info: Mapping[str, Any], *keys: str) -> list[str]:
    """Return one line for each of these keys that is neither true nor false."""
    return [
        f"{key}: got {info[key]!r}, expected true or false"
        for key in keys
        if key in info and not isinstance(info[key], bool)
    ]


def wrong_columns(columns: Any, fields: Sequence[str], meant: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with the key `columns`.

    Args:
        columns: of the entry: our field -> column of the dataset.
        fields: that the format knows.
        meant: names of other formats -> our field.
    """
    if not isinstance(columns, Mapping):
        return [f"columns: got {columns!r}, expected a mapping of our field to the dataset's column"]
    problems = []
    for field, column in columns.items():
        if field not in fields:
            near = (meant or {}).get(field) or nearest(str(field), fields, at_least=0)
            problems.append(f"columns.{field}: unknown field; did you mean `{near}`? Known: {', '.join(fields)}")
        elif not isinstance(column, str) or not column:
            problems.append(f"columns.{field}: got {column!r}, expected the name of a column")
    return problems


def refuse_entry(problems: Sequence[str], *, name: str, formatting: str) -> None:
    """Stop at an entry that is wrong.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    if problems:
        lines = "".join(f"\n  {problem}." for problem in problems)
        raise ValueError(f"dataset_info.json, dataset {name} (formatting: {formatting}) is wrong:{lines}")
