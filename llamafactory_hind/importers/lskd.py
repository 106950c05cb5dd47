"""LSKD's corpus and rated triples (arXiv 2312.04837) as `region` rows, which `sft`, `stage: lskd` and `stage: critic` read."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..formats.ratings import has_label, rating_problems
from ..regions import find_mentions, replace_mentions, write_mention
from .reading.entries import Entry, Reader
from .reading.pointing import take_tokens, vcr_names
from .vcr import read_lines


SUMMARY = (
    "LSKD: the corpus of 1M filtered triples, or rated rows of its critic (.jsonl); Visual Genome and VCR pictures"
)
FORMATTING = "region"
RATINGS = ("label", "reject_label", "qa_score", "r_score")
KEPT = ("source", "split", "index")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="a .jsonl file of the corpus, or of rated rows")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the triples in the order of the file.

    Raises:
        ImportRefused: the file or a triple is not of the released form.
    """
    reader = Reader()
    entries = [
        _read_entry(record, number, place, reader)
        for number, (record, place) in enumerate(read_lines(arguments.file, reader))
    ]
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "index")
    reader.finish()
    return entries


def _read_entry(record: dict[str, Any], number: int, place: str, reader: Reader) -> Entry:
    places, regions = _regions(record, place, reader)
    texts = {}
    for field in ("question", "answer", "rationale"):
        text = take_tokens(reader, record, field, place)
        unknown = sorted({str(index) for index in find_mentions(text)} - places.keys())
        if unknown:
            reader.problems.append(f"{place}, field `{field}`: points at {', '.join(unknown)}, not in `references`")
        texts[field] = replace_mentions(text, lambda index: write_mention(places.get(str(index), 0)))
    row = {"id": f"lskd-{record.get('index', number)}", "regions": regions, **texts}
    if record.get("prediction") is not None:
        row["critic"] = record["prediction"]
    if has_label(record):
        reader.problems += [f"{place}, {problem}" for problem in rating_problems(record)]
    row |= {name: record[name] for name in (*RATINGS, *KEPT) if record.get(name) is not None}
    return Entry(place, row, _names(reader.take(record, "image", str, place, default="?")))


def _regions(record: Mapping[str, Any], place: str, reader: Reader) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return id of a region -> its place, and the regions: those of `region` first, then all others that are known.

    Ids are texts there and numbers in the texts; only the first box of a reference is used, as in the official code.
    """
    references = {
        str(entry.get("name")): entry for entry in record.get("references") or [] if isinstance(entry, Mapping)
    }
    ids = [str(name) for field in ("region", "region_all") for name in record.get(field) or []]
    order = list(dict.fromkeys([*ids, *references]))
    regions = []
    for name in order:
        boxes = references.get(name, {}).get("boxes")
        if not isinstance(boxes, list) or not boxes or not isinstance(boxes[0], list) or len(boxes[0]) < 4:
            got = show(boxes) if name in references else "no reference of that name"
            reader.problems.append(f"{place}, region {name}: got {got}, expected `references` with its box")
            continue
        label = references[name].get("obj_guess")
        regions.append({"image": 0, "box": boxes[0][:4]} | ({"label": _word(label)} if label else {}))
    return {name: index for index, name in enumerate(order)}, regions


def _word(name: Any) -> str:
    """Return `tank (storage vessel)` for LVIS's `tank_(storage_vessel)`."""
    return str(name).replace("_", " ")


def _names(image: str) -> tuple[str, ...]:
    """Return where a picture may lie: Visual Genome's as they are written, VCR's below their folder too."""
    return (image,) if image.startswith(("VG_", "vcr1images/")) else (*vcr_names(image),)
