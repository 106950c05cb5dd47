"""Reading one `hindsight` row: what is wrong with it, and what its assistant turns are."""

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from ...config.problem import RowProblem, show
from ..fields import as_list, entries_of, is_missing
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from ..prompts.wording import CHOICE_LETTERS, build_prompt, join_lines
from .options import HindsightOptions
from .options import read_options as read_options  # part of what a format has, see `formats.get_rows`


TASKS = ("answer", "cot", "knowledge")  # in the order in which `multitask` writes them
LINE_FIELDS = ("cot", "knowledge", "chosen", "rejected")  # a text, or a list of texts joined by newlines
PAIR_FIELDS = ("chosen", "rejected")
NUMBER_FIELDS = ("chosen_confidence", "rejected_confidence")


def tasks_of(fields: Mapping[str, Any], options: HindsightOptions) -> list[str]:
    """Return the targets of the examples that a row becomes, one an example."""
    if options.target != "multitask":
        return [options.target]
    return [task for task in TASKS if not is_missing(fields.get(task))]


def prompt_of(fields: Mapping[str, Any], task: str, options: HindsightOptions) -> str:
    """Return the user turn of one example; the row has passed `find_problems`."""
    shown = {field: fields[field] for field in options.context if not is_missing(fields.get(field))}
    return build_prompt(
        task,
        fields["question"],
        choices=entries_of(fields, "choices") or None,
        cot=shown.get("cot"),
        knowledge=shown.get("knowledge"),
        images=len(as_list(fields.get("images"))),
        videos=len(as_list(fields.get("videos"))),
        audios=len(as_list(fields.get("audios"))),
    )


def responses_of(fields: Mapping[str, Any], task: str, options: HindsightOptions) -> list[str]:
    """Return the assistant turn, or chosen and rejected of a ranking row."""
    names = PAIR_FIELDS if options.ranking else (task,)
    return [join_lines(fields[name]) for name in names]


def question_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with a row as a question that has a gold answer, whatever its dataset trains."""
    yield from find_problems(fields, HindsightOptions(target="answer"))


def question_of(fields: Mapping[str, Any]) -> str | None:
    """Return the question; None where it is no text."""
    question = fields.get("question")
    return question if isinstance(question, str) else None


def response_of(fields: Mapping[str, Any], options: HindsightOptions) -> str | None:
    """Return the assistant turn that the host's stages train on; None where the row has none."""
    if options.ranking or is_missing(fields.get(options.target)):
        return None
    return responses_of(fields, options.target, options)[0]


def find_problems(fields: Mapping[str, Any], options: HindsightOptions) -> Iterator[RowProblem]:
    """Yield everything that is wrong with the texts, types and placeholders of a row (media files: `media.MediaCheck`)."""
    required = {"question": "write the question"}
    if options.ranking:
        required |= {field: f"write the {field} text" for field in PAIR_FIELDS}
    elif options.target != "multitask":
        required[options.target] = f"write it, or use another target than {options.target!r}"
    elif not tasks_of(fields, options):
        yield RowProblem("answer, cot, knowledge", show(None), "at least one of them", "write one, or remove the row")
    optional = [field for field in options.context if field not in required]
    if options.target == "multitask":
        optional += TASKS
    for field in [*required, *optional]:
        yield from _text_problems(field, fields.get(field), required.get(field))
    yield from _choice_problems(fields.get("choices"))
    for field in NUMBER_FIELDS if options.ranking else ():
        value = fields.get(field)
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not is_number:
            yield RowProblem(
                field, show(value), "a finite number (mean log-probability a token)", "write a number or null"
            )
    for field in ("system", "tools"):
        if not isinstance(fields.get(field, ""), str):
            yield RowProblem(field, show(fields[field]), "text", "write text or null")
    yield from _placeholder_problems(fields, [field for field in (*required, *optional) if field != "question"])


def _text_problems(field: str, value: Any, remedy: str | None) -> Iterator[RowProblem]:
    may_be_list = field in LINE_FIELDS
    expected = "non-empty text or a list of non-empty texts" if may_be_list else "non-empty text"
    if is_missing(value):
        if remedy is not None:
            yield RowProblem(field, show(value), expected, remedy)
    elif isinstance(value, list) and may_be_list:
        for index, line in enumerate(value):
            if not isinstance(line, str) or is_missing(line):
                yield RowProblem(
                    f"{field}[{index}]", show(line), "non-empty text", "write it, or remove the entry from the list"
                )
    elif not isinstance(value, str):
        yield RowProblem(field, show(value), expected, "write it as text")


def _choice_problems(choices: Any) -> Iterator[RowProblem]:
    if is_missing(choices):
        return
    if not isinstance(choices, list) or any(not isinstance(choice, str) or is_missing(choice) for choice in choices):
        yield RowProblem("choices", show(choices), "a list of non-empty texts", "write every choice as text, or null")
    elif len(choices) > len(CHOICE_LETTERS):
        expected = f"at most {len(CHOICE_LETTERS)} (A to Z)"
        yield RowProblem("choices", f"{len(choices)} choices", expected, "leave some out")


def _placeholder_problems(fields: Mapping[str, Any], text_fields: list[str]) -> Iterator[RowProblem]:
    media = {kind: len(as_list(fields.get(kind))) for kind in MEDIA_FIELDS}
    question = fields.get("question")
    found = count_placeholders(question) if isinstance(question, str) else dict.fromkeys(MEDIA_FIELDS, 0)
    for kind in MEDIA_FIELDS if any(found.values()) else ():
        if found[kind] != media[kind]:
            got = f"{found[kind]} {PLACEHOLDERS[kind]} in the question and {media[kind]} entries in `{kind}`"
            remedy = f"write one {PLACEHOLDERS[kind]} for each entry of `{kind}`, or no placeholder of any kind"
            yield RowProblem("question", got, "as many placeholders as media", remedy)
    for field in [*text_fields, "choices"]:
        value = fields.get(field)
        for line in value if isinstance(value, list) else [value]:
            if isinstance(line, str) and any(count_placeholders(line).values()):
                remedy = "remove the placeholder: only the question places media"
                yield RowProblem(field, show(line), "text without media placeholders", remedy)
