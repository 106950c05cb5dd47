"""Sherlock (ECCV 2022): the corpus as `region` rows to train on, and the comparison task as rows to rank."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..regions import clamp_box, write_mention
from .reading.entries import Entry, Reader, read_json
from .reading.pointing import VCR_FOLDER


SUMMARY = "Sherlock: sherlock_train_v1_1.json, or the comparison task (instances and answer key); Visual Genome and VCR pictures"
FORMATTING = "region"
QUESTION = "What can be inferred from {regions}?"  # our wording
RATERS = ("annot1", "annot2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument(
        "--file", type=Path, required=True, help="sherlock_train_v1_1.json, or val_comparison_instances.json"
    )
    parser.add_argument(
        "--key",
        type=Path,
        help="val_comparison_answer_key.json: a row for each region with its candidates and ratings",
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return a row for each instance of the corpus, or for each annotation of the answer key, in the order of the file.

    Raises:
        ImportRefused: a file or an instance is not of the released form.
    """
    reader = Reader()
    records = read_json(arguments.file, list)
    if arguments.key is None:
        entries = [_read_instance(record, f"{arguments.file}, entry {n}", reader) for n, record in enumerate(records)]
        reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "instance_id")
    else:
        known = _by_test_id(records, arguments.file, reader)
        entries = _read_comparison(known, read_json(arguments.key, dict), arguments.key, reader)
    reader.finish()
    return entries


def _read_instance(record: Any, place: str, reader: Reader) -> Entry:
    inputs = reader.take(record, "inputs", dict, place, default={})
    targets = reader.take(record, "targets", dict, place, default={})
    image = reader.take(inputs, "image", dict, place, default={})
    url = reader.take(image, "url", str, place, default="?")
    boxes = reader.take(inputs, "bboxes", list, place, default=[])
    row = _row(reader.take(record, "instance_id", str, place, default=""), image, boxes, place, reader)
    row |= {
        "answer": reader.take(targets, "inference", str, place, default=""),
        "clue": reader.take(inputs, "clue", str, place, default=""),
    }
    return Entry(place, row, image_names(url))


def _by_test_id(records: list[Any], path: Path, reader: Reader) -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for number, record in enumerate(records):
        place = f"{path}, entry {number}"
        name = reader.take(record, "test_id", str, place, default="")
        if name:
            found[name] = (place, record)
    return found


def _read_comparison(
    known: Mapping[str, tuple[str, dict[str, Any]]], key: dict[str, Any], path: Path, reader: Reader
) -> list[Entry]:
    """Return a row for each annotated region; candidates are in the order of the key, as the official noise needs them."""
    decoded = {}
    for name, pair in reader.take(key, "test_id_map", dict, str(path), default={}).items():
        if isinstance(pair, dict):
            decoded[pair.get("Input_iid"), pair.get("candidate")] = name
    entries = []
    for number, note in enumerate(reader.take(key, "annotations", list, str(path), default=[])):
        place = f"{path}, annotations[{number}]"
        region = reader.take(note, "Input_iid", str, place, default="")
        candidates = reader.take(note, "candidates", list, place, default=[])
        names = [decoded.get((region, one.get("source_iid"))) for one in candidates if isinstance(one, dict)]
        lacking = [index for index, name in enumerate(names) if name not in known]
        if lacking or len(names) != len(candidates) or not names:
            expected = "candidates whose `source_iid` is in `test_id_map` and in the file of instances"
            reader.problems.append(f"{place}, candidates {lacking}: got no instance, expected {expected}")
            continue
        entries.append(_compared(region, [known[str(name)] for name in names], candidates, names, reader, place))
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "Input_iid")
    return entries


def _compared(
    region: str,
    instances: list[tuple[str, dict[str, Any]]],
    candidates: list[dict[str, Any]],
    names: list[Any],
    reader: Reader,
    place: str,
) -> Entry:
    where, first = instances[0]
    image = reader.take(first, "image", dict, where, default={})
    url = reader.take(image, "url", str, where, default="?")
    row = _row(region, image, reader.take(first, "region", list, where, default=[]), where, reader)
    row |= {
        "choices": [reader.take(one, "inference", str, at, default="") for at, one in instances],
        "ratings": [[_number(one, rater, place, reader) for one in candidates] for rater in RATERS],
        "test_ids": names,
    }
    return Entry(place, row, image_names(url))


def _number(candidate: dict[str, Any], field: str, place: str, reader: Reader) -> float:
    """Return a rating; some are texts, and the official script makes them numbers."""
    try:
        return float(candidate[field])
    except (KeyError, TypeError, ValueError):
        reader.problems.append(f"{place}, field `{field}`: got {show(candidate.get(field))}, expected a number")
        return 0.0


def _row(name: str, image: Mapping[str, Any], boxes: list[Any], place: str, reader: Reader) -> dict[str, Any]:
    """Return id, regions and question: an instance may have several boxes, and all of them are what is asked about."""
    size = (image.get("width"), image.get("height"))
    regions = []
    for index, box in enumerate(boxes):
        try:
            left, top = float(box["left"]), float(box["top"])
            corners = (left, top, left + float(box["width"]), top + float(box["height"]))
            regions.append({"image": 0, "box": list(clamp_box(corners, size) if all(size) else corners)})
        except (KeyError, TypeError, ValueError) as error:
            reader.problems.append(
                f"{place}, box {index}: got {show(box)}, expected left, top, width, height ({error})"
            )
    mentions = " and ".join(write_mention(index) for index in range(len(regions)))
    return {"id": f"sherlock-{name}", "regions": regions, "question": QUESTION.format(regions=mentions)}


def image_names(url: str) -> tuple[str, ...]:
    """Return where a picture may lie; its address is never asked. Visual Genome's are `VG_100K/1.jpg`, VCR's in `vcr1images/`."""
    parts = url.split("/")
    if "VG_" in url:
        return ("/".join(parts[-2:]),)
    return (f"{VCR_FOLDER}/{'/'.join(parts[-2:])}", "/".join(parts[-2:]), "/".join(parts[-3:]))
