"""VCR (CVPR 2019): `train.jsonl`, `val.jsonl`, `test.jsonl` and `vcr1images/` as `region` rows."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..regions import find_mentions
from .reading.entries import Entry, Reader
from .reading.pointing import Objects, VcrPictures, keep_used, take_tokens, text_of
from .reading.released import Released, Unreadable


SUMMARY = "VCR: val.jsonl and the folder with vcr1images/, boxes from the metadata files beside the pictures"
FORMATTING = "region"
CHOICES = 4
EVERYONE = {"everyone", "everyones"}
KEPT = ("movie", "img_id", "question_number", "answer_likelihood", "match_fold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="train.jsonl, val.jsonl or test.jsonl")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of the file. Those of the test split have no labels; their rows hold null there.

    Raises:
        ImportRefused: a file or a question is not of the released form.
    """
    reader = Reader()
    pictures = VcrPictures(arguments.images, reader)
    entries = [_read_entry(record, place, reader, pictures) for record, place in read_lines(arguments.file, reader)]
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "annot_id")
    reader.finish()
    return entries


def read_lines(path: Path, reader: Reader) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of a JSONL file with their places; a line that is none is noted.

    Raises:
        ImportRefused: the file cannot be read.
    """
    for number, record in enumerate(Released(path), start=1):
        place = f"{path}, line {number}"
        if isinstance(record, Unreadable):
            reader.problems.append(record.noted_at(place))
        elif isinstance(record, dict):
            yield record, place
        else:
            reader.problems.append(f"{place}: got {show(record)}, expected an object")


def _read_entry(record: dict[str, Any], place: str, reader: Reader, pictures: VcrPictures) -> Entry:
    image = reader.take(record, "img_fn", str, place, default="?")
    names, objects = pictures.find(image, reader.take(record, "metadata_fn", str, place, default="?"))
    answers = _choices(reader, record, "answer_choices", place)
    rationales = _choices(reader, record, "rationale_choices", place)
    texts = [take_tokens(reader, record, "question", place), *answers, *rationales]
    regions: list[dict[str, Any]] = []
    if objects.regions and not _unknown(texts, objects, place, reader):
        texts, regions = keep_used(texts, objects.regions, keep=_people(record, texts, objects))
    answers, rationales = texts[1 : 1 + len(answers)], texts[1 + len(answers) :]
    answer_label, rationale_label = (
        _label(reader, record, field, place) for field in ("answer_label", "rationale_label")
    )
    row = {
        "id": f"vcr-{reader.take(record, 'annot_id', str, place, default='')}",
        "regions": regions,
        "question": texts[0],
        "choices": answers,
        "answer": _chosen(answers, answer_label),
        "answer_label": answer_label,
        "rationale_choices": rationales,
        "rationale": _chosen(rationales, rationale_label),
        "rationale_label": rationale_label,
        **{name: record[name] for name in KEPT if name in record},
    }
    return Entry(place, row, names)


def _choices(reader: Reader, record: dict[str, Any], field: str, place: str) -> list[str]:
    choices = reader.take(record, field, list, place, default=[])
    if choices and len(choices) != CHOICES:
        reader.problems.append(f"{place}, field `{field}`: got {len(choices)}, expected {CHOICES} token lists")
    return [text_of(reader, choice, f"{place}, field `{field}[{index}]`") for index, choice in enumerate(choices)]


def _label(reader: Reader, record: dict[str, Any], field: str, place: str) -> int | None:
    """Return the number of the right choice; None in the test split, which has none."""
    if record.get(field) is None:
        return None
    label: int = reader.take(record, field, int, place, default=0)
    if not 0 <= label < CHOICES:
        reader.problems.append(f"{place}, field `{field}`: got {label}, expected 0 to {CHOICES - 1}")
    return label


def _chosen(choices: list[str], label: int | None) -> str | None:
    return None if label is None or not 0 <= label < len(choices) else choices[label]


def _unknown(texts: list[str], objects: Objects, place: str, reader: Reader) -> bool:
    unknown = sorted({index for text in texts for index in find_mentions(text) if index >= len(objects.names)})
    if unknown:
        expected = f"numbers below {len(objects.names)}, the objects in the metadata of its picture"
        reader.problems.append(f"{place}: its texts point at {', '.join(map(str, unknown))}, expected {expected}")
    return bool(unknown)


def _people(record: dict[str, Any], texts: list[str], objects: Objects) -> list[int]:
    """Return the people, where a text says everyone or no text points at anything, as in r2c; else nobody."""
    words = [record.get("question"), *record.get("answer_choices", []), *record.get("rationale_choices", [])]
    everyone = any(isinstance(word, str) and word.lower() in EVERYONE for text in words for word in text or [])
    return objects.people if everyone or not any(map(find_mentions, texts)) else []
