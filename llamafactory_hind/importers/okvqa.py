"""OK-VQA (arXiv 1906.00067): a file of questions and a file of annotations with ten answers each."""

import argparse
from pathlib import Path
from typing import Any

from .reading.entries import Entry, Reader, most_common, read_json
from .reading.media import names_2014


SUMMARY = "OK-VQA: OpenEnded_mscoco_*_questions.json with mscoco_*_annotations.json, COCO 2014 pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--questions", type=Path, required=True, help="OpenEnded_mscoco_train2014_questions.json")
    parser.add_argument("--annotations", type=Path, required=True, help="mscoco_train2014_annotations.json")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions, in the order of their file, each with its annotation.

    Raises:
        ImportRefused: a file is not of the released form, or the files do not belong together.
    """
    questions_file, annotations_file = arguments.questions, arguments.annotations
    questions, annotations = read_json(questions_file, dict), read_json(annotations_file, dict)
    reader = Reader()
    split = reader.take(questions, "data_subtype", str, str(questions_file), default="")
    if annotations.get("data_subtype") != split:
        reader.problems.append(
            f"{annotations_file}, field `data_subtype`: got {annotations.get('data_subtype')!r}, expected {split!r} as in "
            f"{questions_file}"
        )
    records = reader.take(questions, "questions", list, str(questions_file), default=[])
    notes = reader.take(annotations, "annotations", list, str(annotations_file), default=[])
    reader.finish()
    by_id = _annotations_by_id(notes, annotations_file, reader)
    type_names = annotations.get("question_types") if isinstance(annotations.get("question_types"), dict) else {}
    entries = []
    for number, record in enumerate(records):
        place = f"{questions_file}, questions[{number}]"
        question_id = reader.take(record, "question_id", int, place)
        if question_id is not None and question_id not in by_id:
            reader.problems.append(
                f"{place}, field `question_id`: {question_id} has no annotation in {annotations_file}"
            )
        note_place, note = by_id.get(question_id, (place, None))
        image_id = reader.take(record, "image_id", int, place, default=0)
        if note is not None and note.get("image_id") != image_id:
            reader.problems.append(
                f"{note_place}, field `image_id`: got {note.get('image_id')!r}, expected {image_id}"
            )
        row = {"id": f"okvqa-{question_id}", "question": reader.take(record, "question", str, place, default="")}
        row |= _read_note(note, note_place, reader, type_names) if note is not None else {}
        entries.append(Entry(place, row, names_2014(split, image_id)))
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "question_id")
    reader.finish()
    return entries


def _annotations_by_id(notes: list[Any], path: Path, reader: Reader) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return question id -> (place, annotation)."""
    places = [f"{path}, annotations[{number}]" for number in range(len(notes))]
    ids = [reader.take(note, "question_id", int, place) for note, place in zip(notes, places, strict=True)]
    reader.refuse_twins(list(zip(ids, places, strict=True)), "question_id")
    return {key: (place, note) for key, place, note in zip(ids, places, notes, strict=True) if key is not None}


def _read_note(note: dict[str, Any], place: str, reader: Reader, type_names: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that an annotation gives."""
    given = reader.take(note, "answers", list, place, default=[])
    answers = [
        reader.take(answer, "answer", str, f"{place}.answers[{index}]", default="")
        for index, answer in enumerate(given)
    ]
    columns = {
        "answer": most_common(answers) if answers else "",
        "answers": answers,
        "choices": None,
        "question_type": note.get("question_type"),
        "answer_type": note.get("answer_type"),
        "image_id": note.get("image_id"),
    }
    if note.get("question_type") in type_names:
        columns["question_type_name"] = type_names[note["question_type"]]
    return columns
