"""A-OKVQA (arXiv 2206.01718): one list of questions with four choices, ten direct answers and three rationales."""

import argparse
from pathlib import Path
from typing import Any

from .reading.entries import Entry, Reader, most_common, read_json
from .reading.media import names_2017


SUMMARY = "A-OKVQA: aokvqa_v1p0_{train,val,test}.json, COCO 2017 pictures"
SPLITS = ("train", "val", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="aokvqa_v1p0_train.json, _val.json or _test.json")
    parser.add_argument(
        "--setting",
        choices=["multiple_choice", "direct_answer"],
        default="multiple_choice",
        help=(
            "multiple_choice: the prompt shows the choices, `answer` is the correct one; direct_answer: it does not, "
            "`answer` is the most common direct answer, the choices are kept as `answer_choices` (default: %(default)s)"
        ),
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of their file.

    Questions of the test split have neither answers nor rationales; their rows hold null there.

    Raises:
        ImportRefused: the file is not of the released form, or only some of its questions have answers.
    """
    path = arguments.file
    records = read_json(path, list)
    reader = Reader()
    labelled = [not _is_unlabelled(record) for record in records]
    if any(labelled) and not all(labelled):
        reader.problems += [
            f"{path}, entry {number}, fields `correct_choice_idx` and `direct_answers`: got nothing"
            for number, has_answers in enumerate(labelled)
            if not has_answers
        ]
        reader.finish()
    read = _read_entry if any(labelled) else _read_unlabelled
    entries = [
        read(record, f"{path}, entry {number}", arguments.setting, reader) for number, record in enumerate(records)
    ]
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "question_id")
    reader.finish()
    return entries


def _is_unlabelled(record: Any) -> bool:
    fields = ("correct_choice_idx", "direct_answers")
    return isinstance(record, dict) and "question" in record and all(record.get(field) is None for field in fields)


def _read_unlabelled(record: Any, place: str, setting: str, reader: Reader) -> Entry:
    split = reader.take(record, "split", str, place, default="test")
    if split not in SPLITS:
        reader.problems.append(f"{place}, field `split`: got {split!r}, expected one of {', '.join(SPLITS)}")
    image_id = reader.take(record, "image_id", int, place, default=0)
    choices = reader.take_texts(record, "choices", place)
    shown = setting == "multiple_choice"
    row = {
        "id": f"aokvqa-{reader.take(record, 'question_id', str, place, default='')}",
        "question": reader.take(record, "question", str, place, default=""),
        "answer": None,
        "answers": None,
        "choices": choices if shown else None,
        "difficult_direct_answer": record.get("difficult_direct_answer") if isinstance(record, dict) else None,
        "split": split,
        "image_id": image_id,
    }
    return Entry(place, row if shown else row | {"answer_choices": choices}, names_2017(split, image_id))


def _read_entry(record: Any, place: str, setting: str, reader: Reader) -> Entry:
    """Return a question with its answers: what the test split has too, and the rest."""
    entry = _read_unlabelled(record, place, setting, reader)
    choices = entry.row["choices"] or entry.row.get("answer_choices") or []
    index = reader.take(record, "correct_choice_idx", int, place, default=0)
    in_range = 0 <= index < len(choices)
    if choices and not in_range:
        expected = f"an index of the {len(choices)} choices, from 0"
        reader.problems.append(f"{place}, field `correct_choice_idx`: got {index}, expected {expected}")
    correct = choices[index] if in_range else ""
    answers = reader.take_texts(record, "direct_answers", place)
    direct = most_common(answers) if answers else ""
    labels = {
        "answer": correct if setting == "multiple_choice" else direct,
        "answers": answers,
        "correct_choice": correct,
        "difficult_direct_answer": reader.take(record, "difficult_direct_answer", bool, place, default=False),
        "rationales": reader.take_texts(record, "rationales", place),
    }
    return Entry(place, entry.row | labels, entry.images)
