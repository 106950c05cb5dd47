"""What a `dataset_info.json` entry says about a `video_reasoning` dataset: target, which reasoning, form of answers, prompts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..media.fields import MEDIA_FIELDS
from ..options import RowOptions, misspelt_keys, refuse_entry, wrong_columns, wrong_flags
from ..prompts.files import PromptFile, PromptFileError, compile_prompt, own_file, read_prompt


TARGETS = ("answer", "reasoning", "multitask", "reasoned_answer")
ANSWER_FORMS = ("letter", "text", "both")
LANGUAGES = ("en", "zh")
REASONING, UNREFINED = "reasoning", "reasoning_unrefined"
FIELDS = (
    *("id", *MEDIA_FIELDS, "start", "end", "fps", "frames", "question", "choices", "answer"),
    *(REASONING, UNREFINED, "reasoning_correct", "deleted", "type", "system", "tools"),
)
OUR_KEYS = (
    *("target", "correct_only", "refined", "answer_form", "language", "columns", "skip_bad_rows"),
    *("answer_prompt", "reasoning_prompt", "reasoned_answer_prompt"),
)
PROMPTS = {  # task -> our file
    "answer": "video_answer",
    "reasoning": "video_reasoning",
    "reasoned_answer": "video_reasoned_answer",
}


@dataclass(frozen=True, kw_only=True)
class VideoReasoningOptions(RowOptions):
    """The options of one dataset.

    Attributes:
        target: what the assistant turn is: `answer`, `reasoning`, `multitask` (an example for each of the two), or
            `reasoned_answer` (the reasoning and then the answer in one turn).
        correct_only: reasoning that reached a wrong answer is left out.
        refined: the reasoning without its sentences that state the answer; false takes it as it was written.
        answer_form: `letter`, `text` or `both` of the right choice.
        prompts: task -> (path, text) of its prompt file. Texts, because cached tokens depend on them.
    """

    correct_only: bool = False
    refined: bool = True
    answer_form: str = "letter"
    prompts: tuple[tuple[str, str, str], ...] = ()

    @property
    def reasoning_field(self) -> str:
        """The field of the reasoning that is learned."""
        return REASONING if self.refined else UNREFINED

    def prompt(self, task: str) -> PromptFile:
        """Return the prompt of a task."""
        path, text = next((path, text) for name, path, text in self.prompts if name == task)
        return compile_prompt(path, text)


def read_options(info: Mapping[str, Any], *, name: str) -> VideoReasoningOptions:
    """Return the options of a `dataset_info.json` entry.

    Args:
        info: the entry; keys that are the host's are left to the host.
        name: the dataset, for the error.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    problems = [
        *misspelt_keys(info, OUR_KEYS),
        *wrong_flags(info, "correct_only", "refined", "skip_bad_rows"),
        *_wrong_words(info),
        *wrong_columns(info.get("columns", {}), FIELDS, {"prompt": "question", "response": "answer"}),
    ]
    if info.get("ranking"):
        problems.append("ranking: got true, expected none: the format has no pairs")
    prompts = []
    for task in PROMPTS:
        try:
            prompts.append((task, *_read_prompt(task, info)))
        except PromptFileError as error:
            problems.append(f"{task}_prompt: got {error.file!r}, expected {error.expected}: {error.reason}")
    refuse_entry(problems, name=name, formatting="video_reasoning")
    return VideoReasoningOptions(
        target=info.get("target", "answer"),
        correct_only=info.get("correct_only", False),
        refined=info.get("refined", True),
        answer_form=info.get("answer_form", "letter"),
        prompts=tuple(prompts),
        skip_bad_rows=info.get("skip_bad_rows", False),
        columns=tuple(info.get("columns", {}).items()),
    )


@cache
def answer_options() -> VideoReasoningOptions:
    """Return the options of a dataset that trains answers and says nothing else."""
    return read_options({"target": "answer"}, name="")


def _wrong_words(info: Mapping[str, Any]) -> Iterator[str]:
    for key, known in (("target", TARGETS), ("answer_form", ANSWER_FORMS), ("language", LANGUAGES)):
        if key in info and info[key] not in known:
            yield f"{key}: got {info[key]!r}, expected one of {', '.join(known)}"


def _read_prompt(task: str, info: Mapping[str, Any]) -> tuple[str, str]:
    language = info.get("language", "en")
    given = info.get(f"{task}_prompt")
    if isinstance(given, str) and "{{" in given:  # the template itself
        found = compile_prompt(f"{task}_prompt", given.removesuffix("\n"))
        return found.path, found.text
    path = Path(given) if given else own_file(PROMPTS[task], language if language in LANGUAGES else "en")
    found = read_prompt(path, PROMPTS[task])
    return found.path, found.text
