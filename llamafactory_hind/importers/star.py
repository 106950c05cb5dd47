"""STAR (NeurIPS 2021): `STAR_train.json`, `STAR_val.json`, `STAR_test.json` of csbobby/STAR_Benchmark as `video_reasoning` rows.

`start` and `end` are seconds of the Charades video; the format trims exactly. `situations` holds the ground truth of the scene and
is left out: a model must not see it.
"""

import argparse
from pathlib import Path
from typing import Any

from ..config.problem import show
from .reading.entries import Entry, Reader, read_json


SUMMARY = "STAR: STAR_val.json, clips of Charades videos"
FORMATTING = "video_reasoning"
MEDIA = "videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="STAR_train.json, STAR_val.json or STAR_test.json")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of the file; `type` is Interaction, Sequence, Prediction or Feasibility.

    Raises:
        ImportRefused: a file or a question is not of the released form.
    """
    reader = Reader()
    entries = [
        _read_entry(record, f"{arguments.file}, entry {number}", reader)
        for number, record in enumerate(read_json(arguments.file, list))
    ]
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "question_id")
    reader.finish()
    return entries


def _read_entry(record: Any, place: str, reader: Reader) -> Entry:
    name = reader.take(record, "question_id", str, place, default="")
    video = reader.take(record, "video_id", str, place, default="?")
    choices = [
        reader.take(choice, "choice", str, f"{place}, `choices[{index}]`", default="")
        for index, choice in enumerate(reader.take(record, "choices", list, place, default=[]))
    ]
    row = {
        "id": f"star-{name}",
        "question": reader.take(record, "question", str, place, default=""),
        "choices": choices,
        "answer": _answer(record, choices, place, reader),
        "type": name.split("_")[0],
        "template": name.split("_")[1] if name.count("_") else "",
        "start": _seconds(record, "start", place, reader),
        "end": _seconds(record, "end", place, reader),
        "qid": name,
    }
    return Entry(place, row, (f"{video}.mp4", f"Charades_v1_480/{video}.mp4"))


def _answer(record: Any, choices: list[str], place: str, reader: Reader) -> int | None:
    """Return the number of the option whose text is the answer; None in the test split, which has none."""
    if not isinstance(record, dict) or "answer" not in record:
        return None
    answer = reader.take(record, "answer", str, place, default="")
    if choices.count(answer) != 1:
        problem = f"got {show(answer)}, expected the text of exactly one of the options {choices}"
        reader.problems.append(f"{place}, field `answer`: {problem}")
        return None
    return choices.index(answer)


def _seconds(record: Any, field: str, place: str, reader: Reader) -> float | None:
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        reader.problems.append(f"{place}, field `{field}`: got {show(value)}, expected seconds, 0 or more")
        return None
    return float(value)
