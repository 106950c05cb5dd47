"""NExT-GQA (CVPR 2024): `val.csv`, `test.csv` and `gsub_*.json` of doc-doc/NExT-GQA as `video_reasoning` rows with gold spans.

Questions are those of NExT-QA, but `answer` is the text of an option. `gsub_*.json` has, for each question, the seconds of the video
in which its answer is seen; spans of questions that the CSV file does not have are left out. `train.csv` has no spans.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..evaluation.spans import gold_spans
from .reading.entries import Entry, Reader, read_json
from .reading.video_choices import read_choice_csv


SUMMARY = "NExT-GQA, choices with gold spans: val.csv, gsub_val.json and map_vid_vidorID.json, or flat videos"
FORMATTING = "video_reasoning"
MEDIA = "videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="train.csv, val.csv or test.csv of NExT-GQA")
    parser.add_argument("--spans", type=Path, help="gsub_val.json or gsub_test.json; without it rows have no `spans`")
    parser.add_argument(
        "--map", type=Path, help="map_vid_vidorID.json; without it videos are `<video>.mp4` in the folder"
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of the file; `spans` is [[start, end], ...] in seconds, `type` CW CH TN TC or TP.

    Raises:
        ImportRefused: a file or a row is not of the released form, or a question has no span.
    """
    entries = read_choice_csv(arguments.file, family="nextgqa", video_map=arguments.map, answers="text")
    if arguments.spans is None:
        return entries
    reader, videos = Reader(), read_json(arguments.spans, dict)
    entries = [_with_spans(entry, videos, str(arguments.spans), reader) for entry in entries]
    reader.finish()
    return entries


def _with_spans(entry: Entry, videos: Mapping[str, Any], file: str, reader: Reader) -> Entry:
    video, _, number = entry.row["qid"].rpartition("_")
    place = f"{file}, video {video}"
    record = reader.take(videos, video, dict, f"{entry.place}: {file}", default={})
    spans = reader.take(record.get("location"), number, list, f"{place}, `location`", default=[]) if record else []
    try:
        found = [list(span) for span in gold_spans(spans)] if spans else []
    except ValueError:
        found = []
        expected = "[start, end] in seconds, start before end, or a list of such"
        reader.problems.append(f"{place}, field `location[{number}]`: got {show(spans)}, expected {expected}")
    return Entry(entry.place, {**entry.row, "spans": found, "duration": record.get("duration")}, entry.images)
