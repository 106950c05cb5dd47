"""Files of predictions: the host's `generated_predictions.jsonl`, or rows with `id` and `prediction`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.problem import ConfigError, Problem, show
from ..config.types import nearest
from ..storage.rows import RowProblem, RowsError, iterate
from .refusal import ScoreError


USUAL_FIELDS = ("prediction", "predict")  # ours, the host's


@dataclass(frozen=True)
class Prediction:
    """One row of a file of predictions.

    Attributes:
        place: file and row, for errors; rows are counted from 1.
        text: None where the row has no prediction.
        fields: the whole row.
    """

    place: str
    text: str | None
    fields: Mapping[str, Any]

    @property
    def id(self) -> str | None:
        """Return the row's own id; None in the host's file."""
        found = self.fields.get("id")
        return None if found is None else str(found)


def read_predictions(
    path: Path, field: str | None, *, text: bool = True, fields: Sequence[str] = ()
) -> list[Prediction]:
    """Read a file of predictions.

    Args:
        path: .json or .jsonl.
        field: of the predicted text; None is the first of `prediction`, `predict` that a row has.
        text: whether a metric scores the text.
        fields: other fields that a metric scores.

    Raises:
        ConfigError: the file is unreadable or empty, or no row has a field that is scored.
        ScoreError: a row is no object, or its prediction is no text.
    """
    bad: list[RowProblem] = []
    try:
        rows = list(iterate(path, on_bad=bad.append, half_characters=True))
    except (OSError, RowsError) as error:
        raise ConfigError(
            [Problem("predictions", str(path), "a readable .json or .jsonl file", f"{error}.")]
        ) from None
    if not rows and not bad:
        raise ConfigError([Problem("predictions", str(path), "at least one row", "The file is empty: predict first.")])
    names = {name for row in rows for name in row.values}
    chosen = field or next((name for name in USUAL_FIELDS if name in names), USUAL_FIELDS[0])
    wrong = [str(problem) for problem in bad]
    wrong += [
        f"{row.file}, row {row.number}, field `{chosen}`: got {show(row.values[chosen])}, expected text, or null where there is no prediction"
        for row in rows
        if not isinstance(row.values.get(chosen), str | None)
    ]
    if wrong:
        raise ScoreError(f"{len(wrong)} of {len(rows) + len(bad)} predictions cannot be read.", wrong, "Correct them.")
    if text and chosen not in names:
        near = nearest(chosen, names)
        remedy = f"The nearest field is `{near}`." if near else f"Rows have {', '.join(sorted(names))}."
        raise ConfigError([Problem("prediction_field", chosen, f"a field of the rows of {path}", remedy)])
    lacking = [needed for needed in dict.fromkeys(fields) if needed not in names]
    if lacking:
        remedy = f"Rows have {', '.join(sorted(names))}; docs/score.md shows what each metric reads."
        raise ConfigError(
            [Problem("predictions", str(path), f"rows with a field `{name}`", remedy) for name in lacking]
        )
    return [Prediction(f"{row.file}, row {row.number}", row.values.get(chosen), row.values) for row in rows]


def final_answer(text: str, pattern: str | None) -> str | None:
    """Return the answer in a prediction, without white space around it.

    Args:
        text: the prediction.
        pattern: a regular expression with one group, of which the last match counts; None is the whole text.

    Returns:
        None where the pattern finds nothing.
    """
    if pattern is None:
        return text.strip()
    found = None
    for match in re.finditer(pattern, text):
        found = match[1]
    return None if found is None else found.strip()
