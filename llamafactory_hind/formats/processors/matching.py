"""Rows of a picture and a text that belong together: the tokens of `sft`, and which picture it is."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ...config.problem import RowProblem, show
from ...storage.digests import medium_name, split_drawing
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from .multitask import MultitaskProcessor, is_whole, tasks_of
from .skipping import skip_row


class MatchingProcessor(MultitaskProcessor):
    """Tokenize a row as the host's `SupervisedDatasetProcessor` does for `sft`, and name its picture.

    What a picture says must not hang on the text that is paired with it: media come first in the first turn, and nowhere else.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return what `MultitaskProcessor` does, and `picture`: a number, equal for rows about the same media.

        Raises:
            BadRowsError: a row has no picture, text before it or several tasks, cannot be encoded, or `cutoff_len` would cut into
                its media, and bad rows are not skipped.
        """
        names = list(examples)
        found: dict[str, list[Any]] = defaultdict(list)
        for index, values in enumerate(zip(*(examples[name] for name in names), strict=True)):
            example = dict(zip(names, values, strict=True))
            problem = _problem(example)
            if problem is not None:
                skip_row(self.data_args, example, index, problem)
                continue
            inputs = super().preprocess_dataset({name: [value] for name, value in example.items()})
            if not inputs:  # cannot be encoded, and listed
                continue
            for name, own in inputs.items():
                found[name] += own
            found["picture"].append(
                picture_number([medium for kind in MEDIA_FIELDS for medium in example[f"_{kind}"] or []])
            )
        return found


def picture_number(media: list[Any]) -> int:
    """Return a number of 63 bits for media, whatever is drawn on them."""
    names = [
        split_drawing(medium)[0] if isinstance(medium, str) else medium_name(medium, path=str) for medium in media
    ]
    digest = hashlib.sha256(json.dumps(names, default=repr).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _problem(example: Mapping[str, Any]) -> RowProblem | None:
    """Return the first thing that is wrong with a row as a pair of picture and text."""
    tasks = tasks_of(example)
    if len(tasks) != 1 or not is_whole(tasks[0]):
        remedy = (
            "give the row a question and one answer; with `formatting: region`, `target: answer` or `answer_rationale`"
        )
        return RowProblem("answer", f"{len(tasks)} tasks" if len(tasks) != 1 else "none", "one answer", remedy)
    if not any(example[f"_{kind}"] for kind in MEDIA_FIELDS):
        return RowProblem("images", "none", "a picture, which the text is matched with", "add it, or remove the row")
    first, *others = (turn["content"] for turn in tasks[0]["prompt"])
    behind = _behind_media(first)
    if any(any(count_placeholders(text).values()) for text in (behind, *others)):
        remedy = (
            "put all placeholders first, or leave them out; `region_style: crop` adds pictures behind: use another"
        )
        return RowProblem(
            "question", show(first), "media before the text, so that a picture is read without it", remedy
        )
    return None


def _behind_media(text: str) -> str:
    """Return what comes behind the placeholders that a text begins with."""
    while True:
        text = text.lstrip()
        placeholder = next((one for one in PLACEHOLDERS.values() if text.startswith(one)), None)
        if placeholder is None:
            return text
        text = text.removeprefix(placeholder)


PROCESSOR = MatchingProcessor
