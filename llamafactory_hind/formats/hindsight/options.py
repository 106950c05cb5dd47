"""What a `dataset_info.json` entry says about a `hindsight` dataset: target, ranking, context and renamed columns."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..media.fields import MEDIA_FIELDS


TARGETS = ("cot", "knowledge", "answer", "multitask")
CONTEXTS = ("cot", "knowledge")
FIELDS = (
    *("id", "question", "answer", "answers", "choices", "cot", "knowledge", *MEDIA_FIELDS, "system", "tools"),
    *("chosen", "rejected", "chosen_confidence", "rejected_confidence", "helpfulness"),
)
OUR_KEYS = ("target", "ranking", "context", "columns", "skip_bad_rows")
HOST_KEYS = (
    *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"),
    *("formatting", "subset", "split", "folder", "num_samples", "tags"),
)


@dataclass(frozen=True)
class HindsightOptions:
    """The options of one dataset.

    Attributes:
        target: what the assistant turn is: `cot`, `knowledge`, `answer`, or `multitask` (an example for each one present).
        ranking: rows are preference pairs with `chosen` and `rejected`.
        context: fields shown in the prompt of the target `answer`, in this order: cot, knowledge.
        skip_bad_rows: leave bad rows of this dataset out instead of refusing it.
        columns: our field -> column of the dataset, where they differ.
    """

    target: str = "answer"
    ranking: bool = False
    context: tuple[str, ...] = ()
    skip_bad_rows: bool = False
    columns: tuple[tuple[str, str], ...] = ()

    def column(self, field: str) -> str:
        """Return the column of the dataset that holds `field`."""
        return dict(self.columns).get(field, field)


def read_options(info: Mapping[str, Any], *, name: str) -> HindsightOptions:
    """Return the options of a `dataset_info.json` entry.

    Args:
        info: the entry; keys that are the host's are left to the host.
        name: the dataset, for the error.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    problems = _misspelt_keys(info)
    ranking = info.get("ranking", False)
    target = info.get("target", "knowledge" if ranking is True else "answer")
    context = info.get("context", ())
    context = (context,) if isinstance(context, str) else context
    columns = info.get("columns", {})
    skip_bad_rows = info.get("skip_bad_rows", False)
    for key, value in (("ranking", ranking), ("skip_bad_rows", skip_bad_rows)):
        if not isinstance(value, bool):
            problems.append(f"{key}: got {value!r}, expected true or false")
    if target not in TARGETS:
        problems.append(f"target: got {target!r}, expected one of {', '.join(TARGETS)}")
    elif ranking is True and target == "multitask":
        problems.append(
            "target: got 'multitask' with ranking, expected cot, knowledge or answer: a pair has one prompt"
        )
    if not isinstance(context, (list, tuple)) or any(field not in CONTEXTS for field in context):
        problems.append(f"context: got {context!r}, expected a list of {', '.join(CONTEXTS)}")
    elif context and target != "answer":
        problems.append(f"context: got {list(context)} with target {target!r}, expected target 'answer' or no context")
    problems += _wrong_columns(columns)
    if problems:
        lines = "".join(f"\n  {problem}." for problem in problems)
        raise ValueError(f"dataset_info.json, dataset {name} (formatting: hindsight) is wrong:{lines}")
    shown = tuple(field for field in CONTEXTS if field in context)
    return HindsightOptions(target, ranking, shown, skip_bad_rows, tuple(columns.items()))


def _misspelt_keys(info: Mapping[str, Any]) -> list[str]:
    # The host ignores keys it does not know, and people leave notes in this file: refuse only what looks like one of ours.
    problems = []
    for key in info:
        nearest = difflib.get_close_matches(key, OUR_KEYS, n=1, cutoff=0.75)
        if key not in OUR_KEYS and key not in HOST_KEYS and nearest:
            problems.append(f"{key}: unknown key; did you mean `{nearest[0]}`")
    return problems


def _wrong_columns(columns: Any) -> list[str]:
    if not isinstance(columns, Mapping):
        return [f"columns: got {columns!r}, expected a mapping of our field to the dataset's column"]
    problems = []
    for field, column in columns.items():
        if field not in FIELDS:
            nearest = {"prompt": ["question"], "response": ["answer"]}.get(field) or difflib.get_close_matches(
                str(field), FIELDS, n=1, cutoff=0.0
            )
            problems.append(f"columns.{field}: unknown field; did you mean `{nearest[0]}`? Known: {', '.join(FIELDS)}")
        elif not isinstance(column, str) or not column:
            problems.append(f"columns.{field}: got {column!r}, expected the name of a column")
    return problems
