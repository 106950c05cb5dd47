"""Preference pairs as token ids, with the prompt written once and every extra column beside it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamafactory.data.processor.processor_utils import DatasetProcessor, infer_seqlen
from llamafactory.extras import logging

from ...config.problem import RowProblem
from ...regions.inline import has_inline
from ..media.fields import MEDIA_FIELDS, count_placeholders
from ..texts.control_tokens import ControlTokens
from .guarding import encode_or_skip
from .media_tokens import media_token_ids
from .origin import origin_of
from .prompts import PROMPT, row_id_of
from .skipping import skip_row


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.processors.pairs")


@dataclass(frozen=True)
class _Lengths:
    """What the host's rule leaves of a prompt and its answers."""

    source: int
    target: int
    whole_source: int
    whole_target: int
    media_end: int
    cutoff: int

    @classmethod
    def of(cls, tokens: Mapping[str, list[int]], cutoff_len: int, *, media_end: int) -> "_Lengths":
        # As in the host, the longer answer decides for both.
        whole_source, whole_target = len(tokens[PROMPT]), max(len(tokens["chosen_ids"]), len(tokens["rejected_ids"]))
        source, target = infer_seqlen(whole_source, whole_target, cutoff_len)
        return cls(source, target, whole_source, whole_target, media_end, cutoff_len)

    def problem(self) -> RowProblem:
        got = f"{self.cutoff}, which keeps {self.source} of the prompt's {self.whole_source} tokens"
        expected = f"at least {self.media_end} kept, where its images, videos or audios end"
        remedy = f"set `cutoff_len: {self._needed()}` or more, or lower `image_max_pixels`, `video_max_pixels`, `video_maxlen`"
        return RowProblem("cutoff_len", got, expected, remedy)

    def _needed(self) -> int:
        """Return the smallest `cutoff_len` with which the host's rule keeps all media."""
        longest = self.whole_source + self.whole_target
        for cutoff_len in range(self.cutoff + 1, longest):
            if infer_seqlen(self.whole_source, self.whole_target, cutoff_len)[0] >= self.media_end:
                return cutoff_len
        return longest


class PairProcessor(DatasetProcessor):
    """Tokenize preference pairs exactly as the host's `PairwiseDatasetProcessor`, without writing the prompt twice.

    `prompt_input_ids + chosen_ids` is the host's `chosen_input_ids`; likewise for rejected. Unlike the host it never cuts
    image, video or audio tokens off: their number would no longer match the features of the picture.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return prompt_input_ids, chosen_ids, rejected_ids, images, videos, audios, columns (JSON), place and side_file of each pair.

        Raises:
            BadRowsError: `cutoff_len` would cut into the media of a prompt, and bad rows are not skipped.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        controls = ControlTokens.of(self.tokenizer, self.template)
        for index, values in enumerate(zip(*(examples[name] for name in names), strict=True)):
            example = dict(zip(names, values, strict=True))
            if len(example["_prompt"]) % 2 != 1 or len(example["_response"]) < 2:
                logger.warning_rank0(f"Dropped invalid example: {example['_prompt'] + example['_response']}")
                continue
            tried = encode_or_skip(self, controls, example, index)
            if tried is None:
                continue
            example, tokens = tried
            lengths = _Lengths.of(tokens, self.data_args.cutoff_len, media_end=self._media_end(tokens[PROMPT]))
            if lengths.source < lengths.media_end:
                skip_row(self.data_args, example, index, lengths.problem())
                continue
            for name, ids in tokens.items():
                model_inputs[name].append(ids[: lengths.source if name == PROMPT else lengths.target])
            for kind in MEDIA_FIELDS:
                model_inputs[kind].append(example[f"_{kind}"])
            model_inputs["columns"].append(example.get("_columns") or "{}")
            for name, value in origin_of(example, name=row_id_of(example)).items():
                model_inputs[name].append(value)
        return model_inputs

    def print_data_example(self, example: dict[str, Any]) -> None:
        """Print a pair, its ids and its text."""
        for name in (PROMPT, "chosen_ids", "rejected_ids"):
            print(f"{name}:\n{example[name]}")
            print(f"{name} decoded:\n{self.tokenizer.decode(example[name], skip_special_tokens=False)}")
        print(f"columns:\n{example['columns']}")

    def _encode(self, example: Mapping[str, Any]) -> dict[str, list[int]]:
        """Return the three parts of a pair, whole."""
        media = [example[f"_{kind}"] or [] for kind in MEDIA_FIELDS]
        plugin = self.template.mm_plugin
        prompt, (chosen, rejected) = example["_prompt"], example["_response"][:2]
        chosen_messages = plugin.process_messages([*prompt, chosen], *media, self.processor)
        answers = chosen["content"] + rejected["content"]
        if any(count_placeholders(answers).values()) or has_inline(answers) or chosen_messages[-1] != chosen:
            rejected_messages = plugin.process_messages([*prompt, rejected], *media, self.processor)
        else:  # the prompt comes out the same: do not decode its pictures and clips a second time
            rejected_messages = [*chosen_messages[:-1], rejected]
        system, tools = example["_system"], example["_tools"]
        prompt_ids, chosen_ids = self.template.encode_oneturn(self.tokenizer, chosen_messages, system, tools)
        _, rejected_ids = self.template.encode_oneturn(self.tokenizer, rejected_messages, system, tools)
        ending = [self.tokenizer.eos_token_id] if self.template.efficient_eos else []
        prompt_ids, _ = plugin.process_token_ids(prompt_ids, None, *media, self.tokenizer, self.processor)
        return {PROMPT: prompt_ids, "chosen_ids": chosen_ids + ending, "rejected_ids": rejected_ids + ending}

    def _media_end(self, prompt_ids: list[int]) -> int:
        """Return the length of the shortest prefix that holds every media token."""
        media_ids = media_token_ids(self.template, self.tokenizer)
        return max((position + 1 for position, token in enumerate(prompt_ids) if token in media_ids), default=0)


PROCESSOR = PairProcessor
