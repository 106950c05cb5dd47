"""The question of a row as its format shows it: what a pipeline asks that scores given answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...engines.interface import Request
from ...formats.fields import entries_of
from ...formats.media.drawn import with_drawing
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.region.options import RegionOptions
from ...formats.region.record import read_row
from ...formats.region.rows import as_prompt
from ...formats.region.showing import Showing, show_regions
from ...formats.rollout.rows import turns_of
from .row import Row


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        system: text, or empty.
        turns: the last one is the question; media have their placeholders.
        choices: as the model reads them.
        bare_choices: without a picture to point into, regions by name.
        showing: how regions are shown.
    """

    system: str
    turns: Sequence[Mapping[str, str]]
    choices: tuple[str, ...]
    bare_choices: tuple[str, ...]
    showing: Showing


def asked_of(row: Row, arguments: Any, *, listed: bool, rationales: bool = False, matched: bool = False) -> Asked:
    """Return the question of a `region` or `hindsight` row.

    Args:
        row: with `choices`.
        arguments: with `region_style`.
        listed: the prompt lists the choices by letter.
        rationales: choices are VCR's `rationale_choices`, asked for behind the gold answer.
        matched: the gold answer belongs to the choice, as in the text of `target: answer_rationale`, not to the prompt.
    """
    fields = dict(row.fields)
    if rationales:
        fields["choices"] = fields["rationale_choices"]
    record = read_row(fields)
    showing = show_regions(record, RegionOptions(region_style=arguments.region_style))
    choices = tuple(map(showing.write, record.choices))
    bare = record if listed else read_row({name: value for name, value in fields.items() if name != "choices"})
    system, turns = turns_of(as_prompt(fields, bare, write=showing.write))
    if rationales:
        answer = showing.write(_answer(row, record.answer))
        if matched:
            choices = tuple(f"{answer}\nRationale: {choice}" for choice in choices)
        else:
            turns[-1]["content"] += f"\nAnswer: {answer}\nRationale:"
    by_name = show_regions(record, RegionOptions(region_style="name"))
    return Asked(system, turns, choices, tuple(map(by_name.write, record.choices)), showing)


def choices_of(row: Row) -> tuple[str, ...]:
    """Return the choices of a row as texts, mentions as `<region:k>`."""
    return read_row({"choices": row.fields["choices"]}).choices


def _answer(row: Row, answer: str | None) -> str:
    """Return the gold answer, with VCR's `answer_label` the choice of that number."""
    label, choices = row.fields.get("answer_label"), entries_of(row.fields, "choices")
    if answer is None and isinstance(label, int) and 0 <= label < len(choices):
        return read_row({"choices": choices}).choices[label]
    if answer is None:
        raise ValueError(
            "answer: got nothing, expected the gold answer, which rationales are ranked behind. Write it."
        )
    return answer


def request_for(row: Row, asked: Asked) -> Request:
    """Return the request that shows a question with its media, regions drawn in."""
    media = {kind: list(row.media[kind]) for kind in MEDIA_FIELDS}
    for number, drawing in asked.showing.drawings.items():
        media["images"][number] = with_drawing(media["images"][number], drawing)
    return Request(list(asked.turns), system=asked.system or None, key=row.id, **media)
