"""Prompts of the online stages as token ids, whole, with media paths, columns, turns and a name for each row."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

from llamafactory.data.data_utils import Role
from llamafactory.data.processor.processor_utils import DatasetProcessor
from llamafactory.extras import logging

from ...config.problem import RowProblem
from ...regions.inline import has_inline
from ..fields import read_columns
from ..media.fields import MEDIA_FIELDS
from ..templates.plugin import BoxWriter, RegionPlugin
from ..texts.control_tokens import ControlTokens
from .guarding import FieldError, done_or_skip, encode_or_skip
from .origin import origin_of
from .skipping import skip_row


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.processors.prompts")

PROMPT = "prompt_input_ids"
RESERVED = ("completions", "prompts", "completion_ids", "row_id")  # what rewards get beside the columns of a row


class PromptProcessor(DatasetProcessor):
    """Tokenize prompts as the host's `SupervisedDatasetProcessor` does, without the answer and without cutting.

    `place` and `side_file` are those of `origin`: for errors. `conversation` is JSON of `system`, `tools`
    and `turns`: token ids cannot be turned back into turns, and rows of the host's formats have no column with their question.

    Rows of any format are allowed: `rollout`, `hindsight`, and the host's own, whose answer becomes the column `answer`.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return prompt_input_ids, images, videos, audios, columns (JSON), row_id, place, side_file and conversation of each prompt.

        Raises:
            BadRowsError: a prompt is longer than `cutoff_len`, a column has a name of `RESERVED` or a box that cannot be
                written, and bad rows are not skipped.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        controls = ControlTokens.of(self.tokenizer, self.template)
        for index, values in enumerate(zip(*(examples[name] for name in names), strict=True)):
            example = dict(zip(names, values, strict=True))
            if len(example["_prompt"]) % 2 != 1:
                logger.warning_rank0(f"Dropped invalid example: {example['_prompt'] + example['_response']}")
                continue
            if reserved := [name for name in RESERVED if name in read_columns(example.get("_columns"))]:
                skip_row(self.data_args, example, index, _reserved(reserved[0]))
                continue
            tried = encode_or_skip(self, controls, example, index)
            if tried is None:
                continue
            columns = columns_text(example)  # as written, also where texts are escaped
            example, ids = tried
            if len(ids) > self.data_args.cutoff_len:
                skip_row(self.data_args, example, index, _too_long(self.data_args.cutoff_len, len(ids)))
                continue
            written = done_or_skip(self, example, index, partial(self._columns, example | {"_columns": columns}))
            if written is None:
                continue
            model_inputs[PROMPT].append(ids)
            for kind in MEDIA_FIELDS:
                model_inputs[kind].append(example[f"_{kind}"])
            model_inputs["columns"].append(written)
            model_inputs["row_id"].append(row_id_of(example))
            for name, value in origin_of(example, name=model_inputs["row_id"][-1]).items():
                model_inputs[name].append(value)
            model_inputs["conversation"].append(conversation_of(example))
        return model_inputs

    def print_data_example(self, example: dict[str, Any]) -> None:
        """Print a prompt, its text and its columns."""
        print(f"{PROMPT}:\n{example[PROMPT]}")
        print(f"{PROMPT} decoded:\n{self.tokenizer.decode(example[PROMPT], skip_special_tokens=False)}")
        print(f"columns:\n{example['columns']}")

    def _columns(self, example: Mapping[str, Any]) -> str:
        """Return the columns as JSON; with a region-aware template, boxes as the model writes them and what reads them back."""
        text, plugin = columns_text(example), self.template.mm_plugin
        if not isinstance(plugin, RegionPlugin):
            return text
        images = example["_images"] or []
        writer = BoxWriter(plugin, images, self.processor)
        columns = {name: _written(writer, name, value) for name, value in read_columns(text).items()}
        has_gold = bool(columns.get("box") or columns.get("boxes"))
        if has_gold and images and columns.get("convention") is None:
            columns |= writer.geometry(columns.get("box_image") or 0)
        return json.dumps(columns, ensure_ascii=False, sort_keys=True)

    def _encode(self, example: Mapping[str, Any]) -> list[int]:
        media = [example[f"_{kind}"] or [] for kind in MEDIA_FIELDS]
        plugin = self.template.mm_plugin
        # The host's templates encode a prompt only with an answer behind it.
        turns = [*example["_prompt"], {"role": Role.ASSISTANT.value, "content": ""}]
        messages = plugin.process_messages(turns, *media, self.processor)
        ids, _ = self.template.encode_oneturn(self.tokenizer, messages, example["_system"], example["_tools"])
        ids, _ = plugin.process_token_ids(ids, None, *media, self.tokenizer, self.processor)
        return list(ids)


def _written(writer: BoxWriter, name: str, value: Any) -> Any:
    try:
        return writer.write_texts(value)
    except ValueError as error:
        raise FieldError(name, error) from error


def columns_text(example: Mapping[str, Any]) -> str:
    """Return the columns of an example as JSON; rows of the host's formats have their answer as the only one."""
    columns = example.get("_columns")
    if columns is None:
        answers = [turn["content"] for turn in example["_response"] or []]
        columns = json.dumps({"answer": answers[0]} if len(answers) == 1 else {}, ensure_ascii=False)
    return columns


def row_id_of(example: Mapping[str, Any]) -> str:
    """Return the `id` of a row, else its place (name of the file, number of the row), else a digest of its prompt."""
    row_id = read_columns(example.get("_columns")).get("id")
    if row_id is not None:
        return str(row_id)
    file, _, number = (example.get("_source") or "").rpartition(", row ")
    if file:
        return f"{os.path.basename(file)}, row {number}"
    content = [example["_prompt"], example["_system"], *(example[f"_{kind}"] for kind in MEDIA_FIELDS)]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()[:16]


def _reserved(name: str) -> RowProblem:
    return RowProblem(
        name, f"a column `{name}`", "another name", "rewards get something of that name; rename the column"
    )


def _too_long(cutoff_len: int, length: int) -> RowProblem:
    got = f"{cutoff_len}, and the prompt has {length} tokens"
    remedy = (
        f"set `cutoff_len: {length}` or more, or lower `image_max_pixels`, `video_max_pixels`, `video_maxlen`: "
        "a prompt for rollouts is never cut"
    )
    return RowProblem("cutoff_len", got, f"at least {length}", remedy)


def conversation_of(example: dict[str, Any]) -> str:
    """Return system text, tools and the turns up to the user's last of an aligned example, as JSON.

    `columns` are the texts among its columns that hold boxes, in pixels of the picture as in the turns: a teacher's template writes
    them in the teacher's terms, while the columns of the row are in the policy's.
    """
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in example["_prompt"]]
    content = {"system": example["_system"] or "", "tools": example["_tools"] or "", "turns": turns}
    columns = read_columns(example.get("_columns"))
    boxed = {name: text for name, text in columns.items() if isinstance(text, str) and has_inline(text)}
    return json.dumps(content | ({"columns": boxed} if boxed else {}), ensure_ascii=False)


PROCESSOR = PromptProcessor
