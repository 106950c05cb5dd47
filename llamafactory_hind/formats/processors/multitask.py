"""Rows with all their tasks as token ids: each text is the host's own for `sft`, so that both stages meet the same tokens."""

import copy
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from llamafactory.data.processor import SupervisedDatasetProcessor
from llamafactory.extras import logging
from llamafactory.extras.constants import IGNORE_INDEX

from ...config.problem import RowProblem
from ..align.tasks import TASKS
from ..media.fields import MEDIA_FIELDS
from ..texts.control_tokens import ControlTokens
from .guarding import encode_or_skip
from .media_tokens import OpenedOnce, media_token_ids
from .origin import origin_of
from .prompts import columns_text, row_id_of
from .skipping import skip_row


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.processors.multitask")
WHOLE = 10**9  # a `cutoff_len` that cuts nothing


class MultitaskProcessor(SupervisedDatasetProcessor):
    """Tokenize every task of a row as the host's `SupervisedDatasetProcessor` does a row of `sft`.

    Unlike the host it never cuts image, video or audio tokens off: their number would no longer match the features of the
    picture. Rows of the host's own formats have one task, `answer`.
    """

    template: Any
    data_args: Any

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return `tasks` (names) and `lengths` of the texts of each row, their `input_ids` and `labels` one behind the other.

        Beside them images, videos, audios, columns (JSON), place and side_file.

        Raises:
            BadRowsError: a row cannot be encoded, or `cutoff_len` would cut into its media, and bad rows are not skipped.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        controls = ControlTokens.of(self.tokenizer, self.template)
        for index, values in enumerate(zip(*(examples[name] for name in names), strict=True)):
            example = dict(zip(names, values, strict=True))
            if not any(map(is_whole, tasks_of(example))):
                logger.warning_rank0(f"Dropped invalid example: {example['_prompt'] + example['_response']}")
                continue
            tried = encode_or_skip(self, controls, example, index)
            if tried is None:
                continue
            example, (tasks, texts) = tried
            problem = self._cut_media(example, tasks, texts)
            if problem is not None:
                skip_row(self.data_args, example, index, problem)
                continue
            model_inputs["tasks"].append([task["task"] for task in tasks])
            model_inputs["lengths"].append([len(ids) for ids, _ in texts])
            model_inputs["input_ids"].append([token for ids, _ in texts for token in ids])
            model_inputs["labels"].append([label for _, labels in texts for label in labels])
            for kind in MEDIA_FIELDS:
                model_inputs[kind].append(example[f"_{kind}"])
            model_inputs["columns"].append(columns_text(example))
            for name, value in origin_of(example, name=row_id_of(example)).items():
                model_inputs[name].append(value)
        return model_inputs

    def print_data_example(self, example: dict[str, Any]) -> None:
        """Print every text of a row: its task, its ids, and what is learnt of it."""
        start = 0
        for task, length in zip(example["tasks"], example["lengths"], strict=True):
            place = slice(start, start + length)
            ids = example["input_ids"][place]
            learnt = [label for label in example["labels"][place] if label != IGNORE_INDEX]
            print(f"{task}, input_ids:\n{ids}")
            print(f"{task}, inputs:\n{self.tokenizer.decode(ids, skip_special_tokens=False)}")
            print(f"{task}, labels:\n{self.tokenizer.decode(learnt, skip_special_tokens=False)}")
            start += length

    def _encode(self, example: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[tuple[list[int], list[int]]]]:
        """Return the tasks of a row, and ids and labels of each."""
        tasks = [task for task in tasks_of(example) if is_whole(task)]
        return tasks, self._encode_tasks(example, tasks)

    def _encode_tasks(
        self, example: Mapping[str, Any], tasks: list[dict[str, Any]]
    ) -> list[tuple[list[int], list[int]]]:
        """Return ids and labels of each task."""
        media = {kind: example[f"_{kind}"] or [] for kind in MEDIA_FIELDS}
        template = self.template
        self.template = copy.copy(template)
        self.template.mm_plugin = OpenedOnce(template.mm_plugin)
        try:
            return [
                self._encode_data_example(
                    prompt=task["prompt"],
                    response=task["response"],
                    system=example["_system"],
                    tools=example["_tools"],
                    **media,
                )
                for task in tasks
            ]
        finally:
            self.template = template

    def _cut_media(
        self, example: Mapping[str, Any], tasks: list[dict[str, Any]], texts: list[tuple[list[int], list[int]]]
    ) -> RowProblem | None:
        """Return what is wrong where `cutoff_len` took media tokens away."""
        cutoff = self.data_args.cutoff_len
        longest = max(len(ids) for ids, _ in texts)
        if longest < cutoff or not any(example[f"_{kind}"] for kind in MEDIA_FIELDS):
            return None  # a text that was cut has `cutoff_len` tokens
        given = self.data_args
        self.data_args = copy.copy(given)
        self.data_args.cutoff_len = WHOLE
        try:
            whole = self._encode_tasks(example, tasks)
        finally:
            self.data_args = given
        media = media_token_ids(self.template, self.tokenizer)
        kept, there = ([sum(token in media for token in ids) for ids, _ in some] for some in (texts, whole))
        if kept == there:
            return None
        needed = max(len(ids) for ids, _ in whole)
        got = f"{cutoff}, which keeps {min(kept)} of the {max(there)} media tokens"
        remedy = f"set `cutoff_len: {needed}`, or lower `image_max_pixels`, `video_max_pixels`, `video_maxlen`"
        return RowProblem("cutoff_len", got, "all media tokens kept", remedy)


def tasks_of(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks of an aligned example: `task`, `prompt` and `response`."""
    if example.get(TASKS):
        tasks: list[dict[str, Any]] = json.loads(example[TASKS])
        return tasks
    return [{"task": "answer", "prompt": example["_prompt"], "response": example["_response"]}]


def is_whole(task: Mapping[str, Any]) -> bool:
    """Say whether a task has a user's last turn and one response, as the host asks for."""
    return len(task["prompt"]) % 2 == 1 and len(task["response"]) == 1


PROCESSOR = MultitaskProcessor
