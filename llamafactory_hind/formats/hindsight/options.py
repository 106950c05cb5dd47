"""What a `dataset_info.json` entry says about a `hindsight` dataset: target, ranking, context and renamed columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..media.fields import MEDIA_FIELDS
from ..options import RowOptions, misspelt_keys, refuse_entry, wrong_columns, wrong_flags


TARGETS = ("cot", "knowledge", "answer", "multitask")
CONTEXTS = ("cot", "knowledge")
FIELDS = (
    *("id", "question", "answer", "answers", "choices", "cot", "knowledge", *MEDIA_FIELDS, "system", "tools"),
    *("chosen", "rejected", "chosen_confidence", "rejected_confidence", "helpfulness"),
)
OUR_KEYS = ("target", "ranking", "context", "columns", "skip_bad_rows")


@dataclass(frozen=True, kw_only=True)
class HindsightOptions(RowOptions):
    """The options of one dataset.

    Attributes:
        target: what the assistant turn is: `cot`, `knowledge`, `answer`, or `multitask` (an example for each one present).
        ranking: rows are preference pairs with `chosen` and `rejected`.
        context: fields shown in the prompt of the target `answer`, in this order: cot, knowledge.
    """

    ranking: bool = False
    context: tuple[str, ...] = ()


def read_options(info: Mapping[str, Any], *, name: str) -> HindsightOptions:
    """Return the options of a `dataset_info.json` entry.

    Args:
        info: the entry; keys that are the host's are left to the host.
        name: the dataset, for the error.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    problems = [*misspelt_keys(info, OUR_KEYS), *wrong_flags(info, "ranking", "skip_bad_rows")]
    ranking = info.get("ranking", False)
    target = info.get("target", "knowledge" if ranking is True else "answer")
    context = info.get("context", ())
    context = (context,) if isinstance(context, str) else context
    columns = info.get("columns", {})
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
    problems += wrong_columns(columns, FIELDS, {"prompt": "question", "response": "answer"})
    refuse_entry(problems, name=name, formatting="hindsight")
    return HindsightOptions(
        target=target,
        ranking=ranking,
        context=tuple(field for field in CONTEXTS if field in context),
        skip_bad_rows=info.get("skip_bad_rows", False),
        columns=tuple(columns.items()),
    )
