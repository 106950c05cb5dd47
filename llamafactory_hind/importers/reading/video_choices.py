"""Video questions with five options in a CSV file, as NExT-QA, NExT-GQA and IntentQA are released."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .entries import Entry, Reader, read_json
from .released import Released, Unreadable


OPTIONS = ("a0", "a1", "a2", "a3", "a4")
NUMBERS = ["0", "1", "2", "3", "4"]


def read_choice_csv(
    path: Path,
    *,
    family: str,
    more: tuple[str, ...] = (),
    video_map: Path | None = None,
    answers: Literal["number", "text"] = "number",
) -> list[Entry]:
    """Return the questions of a CSV file with `question`, `answer`, `qid`, `type` and `a0` to `a4`.

    Args:
        path: of the file.
        family: before the id of a row.
        more: other columns that rows keep.
        video_map: JSON file from ids of videos to their paths without ending (`map_vid_vidorID.json`); None is flat.
        answers: `answer` is the number of an option, 0 to 4, or its text. Where two options have this text, it stays a text.

    Raises:
        ImportRefused: with everything that is wrong with the files.
    """
    paths = {} if video_map is None else read_json(video_map, dict)
    reader, entries = Reader(), []
    for number, record in enumerate(Released(path), start=1):
        place = f"{path}, row {number}"
        if isinstance(record, Unreadable):
            reader.problems.append(record.noted_at(place))
        else:
            entries.append(_read_entry(record, place, reader, family, more, paths, answers))
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "qid")
    reader.finish()
    return entries


def _read_entry(
    record: Mapping[str, Any],
    place: str,
    reader: Reader,
    family: str,
    more: tuple[str, ...],
    paths: Mapping[str, Any],
    answers: str,
) -> Entry:
    texts = {name: "" if value is None else str(value).strip() for name, value in record.items()}
    column = "video" if "video" in texts else "video_id"
    for name in (column, "question", "answer", "qid", "type", *OPTIONS):
        if not texts.get(name):
            reader.problems.append(f"{place}, field `{name}`: got nothing, expected text")
    choices = [texts.get(name, "") for name in OPTIONS]
    known, expected = (NUMBERS, "the number of an option, 0 to 4")
    if answers == "text":
        known, expected = choices, f"the text of one of the options {choices}"
    answer = texts.get("answer", "")
    if answer and answer not in known:
        reader.problems.append(f"{place}, field `answer`: got {answer!r}, expected {expected}")
    video = texts.get(column, "")
    mapped = paths.get(video)
    row = {
        "id": f"{family}-{video}_{texts.get('qid', '')}",
        "question": texts.get("question", ""),
        "choices": choices,
        "answer": known.index(answer) if known.count(answer) == 1 else answer or None,
        "type": texts.get("type", ""),
        "qid": f"{video}_{texts.get('qid', '')}",  # the key of official prediction files
        **{name: texts[name] for name in more if name in texts},
    }
    names = [f"{mapped}.mp4"] if isinstance(mapped, str) else []
    return Entry(place, row, (*names, f"{video}.mp4"))
