"""IntentQA (ICCV 2023): `train.csv`, `val.csv`, `test.csv` of JoseponLee/IntentQA as `video_reasoning` rows.

The released `test.csv` has 2,111 rows. Published numbers are of a file with 2,134, so report how many rows a score has.
"""

import argparse
from pathlib import Path

from .reading.entries import Entry
from .reading.video_choices import read_choice_csv


SUMMARY = "IntentQA: val.csv, and flat videos or NExT-QA's map_vid_vidorID.json"
FORMATTING = "video_reasoning"
MEDIA = "videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="train.csv, val.csv or test.csv")
    parser.add_argument("--map", type=Path, help="NExT-QA's map_vid_vidorID.json, where its folders are used")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions in the order of the file; `type` is one of CW CH TN TP.

    Raises:
        ImportRefused: a file or a row is not of the released form.
    """
    more = ("action", "lemma", "lemma_id")
    return read_choice_csv(arguments.file, family="intentqa", more=more, video_map=arguments.map)
