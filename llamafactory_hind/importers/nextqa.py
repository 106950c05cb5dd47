"""NExT-QA (CVPR 2021), multiple choice: `train.csv`, `val.csv`, `test.csv` of doc-doc/NExT-QA as `video_reasoning` rows."""

import argparse
from pathlib import Path

from .reading.entries import Entry
from .reading.video_choices import read_choice_csv


SUMMARY = "NExT-QA, multiple choice: val.csv and map_vid_vidorID.json, or flat videos"
FORMATTING = "video_reasoning"
MEDIA = "videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="train.csv, val.csv or test.csv")
    parser.add_argument(
        "--map", type=Path, help="map_vid_vidorID.json; without it videos are `<video>.mp4` in the folder"
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of the file; `type` is one of CW CH TN TC TP DC DL DO.

    Raises:
        ImportRefused: a file or a row is not of the released form.
    """
    return read_choice_csv(arguments.file, family="nextqa", video_map=arguments.map)
