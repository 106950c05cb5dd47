"""Rated rows as token ids: question, answer and rationale in one user turn, as a critic reads them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from llamafactory.extras import logging

from ...config.problem import RowProblem
from ..fields import read_columns
from ..prompts.wording import critic_turn
from ..ratings import rating_problems, read_ratings
from .prompts import PROMPT, PromptProcessor
from .skipping import skip_row


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.processors.critic")


class CriticProcessor(PromptProcessor):
    """Tokenize the last question with the answer behind it; labels come from `label`, `reject_label`, `qa_score`, `r_score`.

    The answer is the assistant turn of the dataset: with `formatting: region` set `target: answer_rationale`.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return what `PromptProcessor` does, and `accepted`, `qa_score` and `rationale_score` of each row.

        Raises:
            BadRowsError: a row has no label that can be read or is longer than `cutoff_len`, and bad rows are not skipped.
        """
        names = list(examples)
        rated: dict[str, list[Any]] = defaultdict(list)
        found: dict[str, list[Any]] = defaultdict(list)
        for index, values in enumerate(zip(*(examples[name] for name in names), strict=True)):
            example = dict(zip(names, values, strict=True))
            columns = read_columns(example.get("_columns"))
            problem = _problem(example, columns)
            if problem is not None:
                skip_row(self.data_args, example, index, problem)
                continue
            inputs = super().preprocess_dataset({name: [value] for name, value in _as_prompt(example).items()})
            if not inputs:  # too long, and listed
                continue
            for name, own in inputs.items():
                found[name] += own
            for name, value in vars(read_ratings(columns)).items():
                rated[name].append(float(value))
        return {**found, **rated}

    def print_data_example(self, example: dict[str, Any]) -> None:
        """Print a text and its labels."""
        print(f"{PROMPT} decoded:\n{self.tokenizer.decode(example[PROMPT], skip_special_tokens=False)}")
        print({name: example[name] for name in ("accepted", "qa_score", "rationale_score")})


def _problem(example: Mapping[str, Any], columns: Mapping[str, Any]) -> RowProblem | None:
    """Return the first thing that is wrong with a row as a rated one."""
    if len(example["_prompt"]) % 2 != 1 or len(example["_response"] or []) != 1:
        remedy = "give the row one; with `formatting: region`, `target: answer_rationale`"
        return RowProblem("answer", "no single answer", "a question and one answer, which the raters saw", remedy)
    return next(rating_problems(columns), None)


def _as_prompt(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return the example with its answer in the user's last turn."""
    *before, last = example["_prompt"]
    text = critic_turn(last["content"], example["_response"][0]["content"])
    return {**example, "_prompt": [*before, {**last, "content": text}], "_response": []}


PROCESSOR = CriticProcessor
