"""Reading one `region` row: what is wrong with it, its turns, and its assistant turn."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...config.problem import RowProblem, show
from ...regions.inline import ALMOST, INLINE
from ...regions.tags import find_mentions, replace_mentions
from ..fields import is_missing
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from ..options import RowOptions
from ..prompts.wording import CHOICE_LETTERS, format_choices
from ..rollout import rows as rollout
from .options import RegionOptions
from .options import read_options as read_options  # part of what a format has, see `formats.get_rows`
from .record import RegionRow, gold_boxes, read_row, record_problems
from .showing import Showing, show_regions, texts_of


PAIR_FIELDS = ("chosen", "rejected")
NEEDED = {"answer": ("answer",), "rationale": ("answer", "rationale"), "answer_rationale": ("answer", "rationale")}
PASSED_ON = (*MEDIA_FIELDS, "tools")  # to the rules of `rollout` as they are


def find_problems(fields: Mapping[str, Any], options: RowOptions) -> Iterator[RowProblem]:
    """Yield everything that is wrong with a row but for its media files and boxes outside of their pictures."""
    problems = [*record_problems(fields), *_choice_problems(fields.get("choices")), *_needed_problems(fields, options)]
    yield from problems
    if problems:
        return
    row = read_row(fields)
    for text in texts_of(row):
        wrong = [match[0] for match in ALMOST.finditer(text) if not INLINE.fullmatch(match[0])]
        if wrong:
            remedy = "mention a region as <region:0>, or write the text without `<box:`"
            yield RowProblem("regions", show(wrong[0]), "a box as <box:0:64,48,320,240:dog>", remedy)
    for problem in rollout.find_problems(as_prompt(fields, row, write=str), rollout.RolloutOptions()):
        yield RowProblem(problem.field.replace("prompt", "question"), problem.got, problem.expected, problem.remedy)
    for name in ("answer", "rationale", *PAIR_FIELDS):
        text = getattr(row, name)
        if text is not None and any(count_placeholders(text).values()):
            expected = "text without media placeholders"
            yield RowProblem(name, show(text), expected, "remove the placeholder: only the prompt places media")


def question_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with a row as a question that has a gold answer, whatever its dataset trains."""
    yield from find_problems(fields, RegionOptions(target="answer"))


def question_of(fields: Mapping[str, Any]) -> str | None:
    """Return the last turn of the prompt, its regions by name; None where the prompt cannot be used."""
    # `choices` are no part of the turn here: a ranking may have more than there are letters
    if any(problem.field != "choices" for problem in find_problems(fields, RegionOptions())):
        return None
    row = read_row(fields)
    text = row.messages[-1]["content"] if row.messages else row.question
    return None if text is None else _by_name(row).write(text)


def response_of(fields: Mapping[str, Any], options: RowOptions) -> str | None:
    """Return the assistant turn that the host's stages train on; None where the row has none, or where it points.

    How a region is written depends on the model: only `region_style: name` is known here.
    """
    row = read_row(fields)
    if getattr(options, "ranking", False):
        return None
    told = answer_turn(row, options.target, write=str)
    if told is None or (find_mentions(told) and getattr(options, "region_style", "name") != "name"):
        return None
    return answer_turn(row, options.target, write=_by_name(row).write)


def reference_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that `score` reads in another form: gold boxes, and the question with its mentions as gaps."""
    row = read_row(fields)
    text = row.messages[-1]["content"] if row.messages else row.question
    question = replace_mentions(text or "", lambda _: PLACEHOLDERS["images"])  # `score` skips placeholders
    given = fields.get("box") or fields.get("boxes")
    gold = {} if given else {name: value for name, value in gold_boxes(row).items() if value is not None}
    return {"question": question, **gold}


def as_prompt(fields: Mapping[str, Any], row: RegionRow, *, write: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the prompt of a row as fields of `rollout`; `write` is applied to its texts."""
    prompt: dict[str, Any] = {name: fields[name] for name in PASSED_ON if name in fields}
    if row.messages:
        prompt["messages"] = [{**turn, "content": write(turn["content"])} for turn in row.messages]
    if row.question is not None:
        choices = f"\n{format_choices(row.choices)}" if row.choices else ""
        prompt["prompt"] = write(row.question + choices)
    if row.external:
        prompt["external"] = [{**entry, "text": write(entry.get("text"))} for entry in row.external]
    for name in ("system", "hint"):
        if name in fields:
            text = fields[name]
            prompt[name] = write(text) if isinstance(text, str) else text
    return prompt


def answer_turn(row: RegionRow, target: str, *, write: Callable[[str], str]) -> str | None:
    """Return what the model is to write for a target; None where the row lacks it. `write` is applied to the text."""
    parts = {"answer": row.answer, "rationale": row.rationale}
    if target == "answer_rationale":
        answer, rationale = parts["answer"], parts["rationale"]
        text = None if answer is None or rationale is None else f"{answer}\nRationale: {rationale}"
    else:
        text = parts[target]
    return None if text is None else write(text)


def _by_name(row: RegionRow) -> Showing:
    return show_regions(row, RegionOptions(region_style="name"))


def _needed_problems(fields: Mapping[str, Any], options: RowOptions) -> Iterator[RowProblem]:
    ranking = getattr(options, "ranking", False)
    # A row without an answer is a prompt for rollouts; what is trained on says so through the host.
    needed = PAIR_FIELDS if ranking else () if options.target == "answer" else NEEDED[options.target]
    for name in needed:
        if is_missing(fields.get(name)):
            remedy = f"write it, or use another target than {options.target!r}" if not ranking else "write it"
            yield RowProblem(name, show(fields.get(name)), "non-empty text", remedy)


def _choice_problems(choices: Any) -> Iterator[RowProblem]:
    if is_missing(choices):
        return
    if not isinstance(choices, list):
        yield RowProblem("choices", show(choices), "a list of texts", "write every choice as text, or null")
    elif any(is_missing(choice) for choice in choices):
        yield RowProblem("choices", show(choices), "a list of non-empty texts", "write or remove the empty ones")
    elif len(choices) > len(CHOICE_LETTERS):
        expected = f"at most {len(CHOICE_LETTERS)} (A to Z)"
        yield RowProblem("choices", f"{len(choices)} choices", expected, "leave some out")
