"""Reading one `video_reasoning` row: what is wrong with it, its tasks, and their prompts and assistant turns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...config.problem import RowProblem, show
from ..fields import as_list, is_missing
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from ..prompts.files import PromptError, media_variables
from ..prompts.wording import CHOICE_LETTERS
from .answers import answer_text, gold_index
from .options import UNREFINED, VideoReasoningOptions, answer_options
from .options import read_options as read_options  # part of what a format has, see `formats.get_rows`
from .spans import clip_names, span_problems


NEEDS_ANSWER = ("answer", "multitask", "reasoned_answer")
NEEDS_REASONING = ("reasoning", "reasoned_answer")


def tasks_of(fields: Mapping[str, Any], options: VideoReasoningOptions) -> list[str]:
    """Return the tasks of the examples that a row becomes, one an example: none where its reasoning is left out.

    `multitask` gives `answer` and then, where the row has reasoning to learn from, `reasoning`.
    """
    usable = bool(fields.get(options.reasoning_field)) and not (
        options.correct_only and fields.get("reasoning_correct") is False
    )
    if options.target == "multitask":
        return ["answer", *(["reasoning"] if usable else [])]
    return [options.target] if usable or options.target == "answer" else []


def prompt_of(fields: Mapping[str, Any], task: str, options: VideoReasoningOptions) -> str:
    """Return the user turn of one example.

    Raises:
        PromptError: the prompt file needs what the row does not give.
    """
    media = {kind: as_list(fields.get(kind)) for kind in MEDIA_FIELDS}
    variables = media_variables(fields["question"], media) | {"answer_form": options.answer_form} | dict(fields)
    return options.prompt(task).render(variables, row=str(fields.get("id", "the row"))).rstrip()


def reply_of(fields: Mapping[str, Any], task: str, options: VideoReasoningOptions) -> str:
    """Return the assistant turn of one example; the row has passed `find_problems`."""
    reasoning = str(fields.get(options.reasoning_field, "")).strip()
    if task == "reasoning":
        return reasoning
    answer = answer_text(fields["answer"], fields.get("choices"), options.answer_form)
    if task == "answer":
        return answer
    heading = "答案：" if "答案：" in options.prompt(task).text else "Answer: "
    return f"{reasoning}\n{heading}{answer}"


def question_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with a row as a question that has a gold answer, whatever its dataset trains."""
    yield from find_problems(fields, answer_options())


def question_of(fields: Mapping[str, Any]) -> str | None:
    """Return the question; None where it is no text."""
    question = fields.get("question")
    return question if isinstance(question, str) else None


def response_of(fields: Mapping[str, Any], options: VideoReasoningOptions) -> str | None:
    """Return the assistant turn that the host's stages train on, the first of several; None where the row has none."""
    tasks = tasks_of(fields, options)
    return (
        reply_of(fields, tasks[0], options) if tasks and next(find_problems(fields, options), None) is None else None
    )


def open_media(fields: Mapping[str, Any], media: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the media of a row, paths already located, with its videos as the clips that it names."""
    return {kind: list(items) for kind, items in media.items()} | {"videos": clip_names(fields, media["videos"])}


def find_problems(fields: Mapping[str, Any], options: VideoReasoningOptions) -> Iterator[RowProblem]:
    """Yield everything that is wrong with the texts, types, spans and placeholders of a row (files: `media.MediaCheck`)."""
    texts = list(_text_problems(fields, options))
    yield from texts
    yield from span_problems(fields)
    yield from _placeholder_problems(fields)
    if not texts:
        yield from _prompt_problems(fields, options)


def _text_problems(fields: Mapping[str, Any], options: VideoReasoningOptions) -> Iterator[RowProblem]:
    if not isinstance(fields.get("question"), str) or is_missing(fields["question"]):
        yield RowProblem("question", show(fields.get("question")), "non-empty text", "write the question")
    choices = fields.get("choices")
    wrong_choices = list(_choice_problems(choices))
    yield from wrong_choices
    if options.target in NEEDS_ANSWER and not wrong_choices:
        yield from _answer_problems(fields.get("answer"), choices or [])
    yield from _reasoning_problems(fields, options)
    for field in ("system", "tools", "type"):
        if not isinstance(fields.get(field, ""), str):
            yield RowProblem(field, show(fields[field]), "text", "write text or null")


def _choice_problems(choices: Any) -> Iterator[RowProblem]:
    if is_missing(choices):
        return
    if not isinstance(choices, list) or any(not isinstance(choice, str) or is_missing(choice) for choice in choices):
        yield RowProblem("choices", show(choices), "a list of non-empty texts", "write every choice as text, or null")
    elif len(choices) > len(CHOICE_LETTERS):
        yield RowProblem(
            "choices", f"{len(choices)} choices", f"at most {len(CHOICE_LETTERS)} (A to Z)", "leave some out"
        )


def _answer_problems(answer: Any, choices: list[str]) -> Iterator[RowProblem]:
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    if is_missing(answer) or not (is_number or isinstance(answer, str)):
        yield RowProblem("answer", show(answer), "non-empty text", "write it, or use the target 'reasoning'")
    elif choices and gold_index(answer, choices) is None:
        expected = f"one of {show(choices)}, its letter, or its index from 0"
        yield RowProblem("answer", show(answer), expected, "correct the answer or the choices")


def _reasoning_problems(fields: Mapping[str, Any], options: VideoReasoningOptions) -> Iterator[RowProblem]:
    if options.target == "answer":
        return
    field = options.reasoning_field
    value, is_correct = fields.get(field), fields.get("reasoning_correct")
    if value is not None and not isinstance(value, str):
        yield RowProblem(field, show(value), "text", "write it as text")
    elif value is None and options.target in NEEDS_REASONING:
        hint = "; `refined: false` reads the text as it was written" if field == UNREFINED else ""
        yield RowProblem(field, show(None), f"text (empty where nothing is left of it){hint}", "write it")
    if is_correct is not None and not isinstance(is_correct, bool):
        yield RowProblem("reasoning_correct", show(is_correct), "true, false or null", "correct it")
    elif is_correct is None and value and options.correct_only:
        expected = "true or false, because the dataset has `correct_only: true`"
        yield RowProblem("reasoning_correct", show(None), expected, "write it, or turn `correct_only` off")


def _placeholder_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    media = {kind: len(as_list(fields.get(kind))) for kind in MEDIA_FIELDS}
    question = fields.get("question")
    found = count_placeholders(question) if isinstance(question, str) else dict.fromkeys(MEDIA_FIELDS, 0)
    for kind in MEDIA_FIELDS if any(found.values()) else ():
        if found[kind] != media[kind]:
            got = f"{found[kind]} {PLACEHOLDERS[kind]} in the question and {media[kind]} entries in `{kind}`"
            remedy = f"write one {PLACEHOLDERS[kind]} for each entry of `{kind}`, or no placeholder of any kind"
            yield RowProblem("question", got, "as many placeholders as media", remedy)
    for field in ("reasoning", UNREFINED, "answer", "choices"):
        value = fields.get(field)
        for line in value if isinstance(value, list) else [value]:
            if isinstance(line, str) and any(count_placeholders(line).values()):
                remedy = "remove the placeholder: only the question places media"
                yield RowProblem(field, show(line), "text without media placeholders", remedy)


def _prompt_problems(fields: Mapping[str, Any], options: VideoReasoningOptions) -> Iterator[RowProblem]:
    for task in tasks_of(fields, options):
        try:
            prompt_of(fields, task, options)
        except PromptError as error:
            yield RowProblem(f"{task}_prompt", str(error), "a prompt that renders", "correct the prompt or the row")
