"""Columns of rows for rewards: rows to columns, and the gold value that a reward compares with."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..config.problem import shorten
from ..config.types import nearest
from ..formats.texts.layout import answer_text


GOLD = ("answer", "solution")  # ours, and that of the released Reason-RFT rows


def gather_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return every column that any row has, with None where a row lacks it: rows of several datasets score together."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def gold_values(columns: Mapping[str, Sequence[Any]], fields: Sequence[str], count: int) -> list[tuple[str, Any]]:
    """Return (field, value) for each row: of the first field that the row has a value for, None where it has none.

    Args:
        columns: of the rows.
        fields: where the value may be, the most probable first.
        count: number of rows.

    Raises:
        ValueError: none of the fields is a column.
    """
    present = [field for field in fields if field in columns]
    if not present:
        near = nearest(fields[0], columns)
        hint = f" Did you mean `{near}`?" if near else ""
        wanted = " or ".join(f"`{field}`" for field in fields)
        raise ValueError(f"needs a column {wanted}; the rows have {', '.join(sorted(columns)) or 'none'}.{hint}")
    picked = []
    for row in range(count):
        field = next((field for field in present if columns[field][row] is not None), present[0])
        picked.append((field, columns[field][row]))
    return picked


def gold_texts(columns: Mapping[str, Sequence[Any]], count: int) -> list[str | None]:
    """Return the gold answer of each row as text, None where a row has none.

    The text between `<answer>` tags counts where there are such tags, as in Reason-RFT's `solution`; a number becomes text.

    Raises:
        ValueError: no gold column, or a gold answer that is neither text nor number, or blank.
    """
    return [_as_text(field, value) for field, value in gold_values(columns, GOLD, count)]


def score_rows(
    completions: Sequence[str], golds: Sequence[Any], score: Callable[[str, Any], float | None]
) -> list[float | None]:
    """Score each completion against its gold value; None, the reward does not apply, where there is none."""
    return [None if gold is None else score(text, gold) for text, gold in zip(completions, golds, strict=True)]


def finite_number(value: Any) -> bool:
    """Say whether a value is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_text(field: str, value: Any) -> str | None:
    if value is None:
        return None
    if finite_number(value):
        return str(int(value)) if float(value).is_integer() else repr(value)
    if isinstance(value, str):
        tagged = answer_text(value)
        text = (value if tagged is None else tagged).strip()
        if text:
            return text
    parts = ""
    if isinstance(value, (list, tuple, dict)):
        parts = (
            " Write an answer of several parts as a text: `1, 2` where their order counts, `{1, 2}` where it does not; answers of "
            "which one is enough belong in `answers`, for the reward `vqa`."
        )
    raise ValueError(f"column `{field}`: got {shorten(value)}, expected a text that is not blank, or a number.{parts}")
