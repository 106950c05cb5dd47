"""RefCOCO, RefCOCO+ and RefCOCOg: `refs(unc).p` and `instances.json` as `region` rows whose answer is a box."""

import argparse
import io
import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..regions import clamp_box, write_mention
from .reading.entries import Entry, ImportRefused, Reader, read_json


SUMMARY = "RefCOCO, RefCOCO+, RefCOCOg: refs(unc).p and instances.json, COCO 2014 pictures"
FORMATTING = "region"
FOLDER = "train2014"  # all pictures of the three data sets are from COCO's training set of 2014
IMAGE = {"id": int, "width": int, "height": int, "file_name": str}
CATEGORY = {"id": int, "name": str}
ANNOTATION = {"id": int, "image_id": int}
QUESTION = "Where is {expression}? Answer with its box."  # our wording


class PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers. A pickle can run any code; this one refuses whatever names a class or a function."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse."""
        raise pickle.UnpicklingError(f"it names {module}.{name}; the released files hold plain values alone")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--refs", type=Path, required=True, help="refs(unc).p, refs(umd).p …, or the same as .json")
    parser.add_argument("--instances", type=Path, required=True, help="instances.json of the same folder")
    parser.add_argument("--split", required=True, help="train, val, testA, testB or test")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return a row for each expression of a split; its regions are all annotated objects of the picture, one is the answer.

    Raises:
        ImportRefused: a file or a reference is not of the released form, or the split is none.
    """
    reader = Reader()
    refs = _read_refs(arguments.refs)
    content = read_json(arguments.instances, dict)
    file = str(arguments.instances)
    sizes = {image["id"]: image for image in _records(content, "images", IMAGE, file, reader)}
    named = _records(content, "categories", CATEGORY, file, reader) if content.get("categories") else []
    labels = {one["id"]: one["name"] for one in named}
    objects = defaultdict(list)
    for note in _records(content, "annotations", ANNOTATION, file, reader):
        objects[note["image_id"]].append(note)
    reader.finish()
    known = {str(ref.get("split")) for ref in refs if isinstance(ref, dict)}
    if arguments.split not in known:
        lines = [f"--split: got {arguments.split!r}, expected one of {', '.join(sorted(known))}"]
        raise ImportRefused("The split is not in the file.", lines, "Correct --split.")
    entries: list[Entry] = []
    for number, ref in enumerate(refs):
        place = f"{arguments.refs}, [{number}]"
        if not isinstance(ref, dict):
            reader.take(ref, "split", str, place)  # notes what is wrong
        elif ref.get("split") == arguments.split:
            entries += _read_ref(ref, place, sizes, labels, objects, reader)
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "sent_id")
    reader.finish()
    return entries


def _records(
    content: Mapping[str, Any], name: str, fields: Mapping[str, type], file: str, reader: Reader
) -> list[dict[str, Any]]:
    """Return the objects of a list that have these fields; note what is wrong with the others."""
    good = []
    for index, record in enumerate(reader.take(content, name, list, file, default=[])):
        noted = len(reader.problems)
        for field, kind in fields.items():
            if len(reader.problems) == noted:
                reader.take(record, field, kind, f"{file}, {name}[{index}]")
        if len(reader.problems) == noted:
            good.append(record)
    return good


def _read_refs(path: Path) -> list[Any]:
    if path.suffix == ".json":
        refs: list[Any] = read_json(path, list)
        return refs
    try:
        loaded = PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, ImportError, AttributeError) as error:
        raise ImportRefused("A file cannot be read.", [f"{path}: {error}"], "Give the released file.") from None
    if not isinstance(loaded, list):
        raise ImportRefused(
            "A file does not have the released form.", [f"{path}: got {show(loaded)}"], "Give the released file."
        )
    return loaded


def _read_ref(
    ref: dict[str, Any],
    place: str,
    sizes: Mapping[Any, Mapping[str, Any]],
    labels: Mapping[Any, str],
    objects: Mapping[Any, list[dict[str, Any]]],
    reader: Reader,
) -> list[Entry]:
    image = sizes.get(ref.get("image_id"))
    size = (1, 1) if image is None else (image["width"], image["height"])
    made = [(note, _region(note, size, labels)) for note in objects.get(ref.get("image_id"), [])]
    shown = [(note, region) for note, region in made if region is not None]  # a few annotations of COCO have no area
    gold = next((index for index, (note, _) in enumerate(shown) if note.get("id") == ref.get("ann_id")), None)
    if image is None or gold is None:
        expected = f"an annotation with a box of picture {ref.get('image_id')} in the file of instances"
        reader.problems.append(f"{place}, field `ann_id`: got {show(ref.get('ann_id'))}, expected {expected}")
        return []
    regions = [region for _, region in shown]
    entries = []
    for sentence in reader.take(ref, "sentences", list, place, default=[]):
        expression = reader.take(sentence, "sent", str, place, default="")
        row = {
            "id": f"refcoco-{reader.take(sentence, 'sent_id', int, place, default=0)}",
            "regions": regions,
            "question": QUESTION.format(expression=expression),
            "answer": write_mention(gold),
            "expression": expression,
            "image_size": list(size),
            "ref_id": ref.get("ref_id"),
        }
        name = str(image["file_name"])
        entries.append(Entry(place, row, (f"{FOLDER}/{name}", name)))
    return entries


def _region(note: dict[str, Any], size: tuple[int, int], labels: Mapping[Any, str]) -> dict[str, Any] | None:
    """Return an object, None where its box is none; COCO's `bbox` is left, top, width, height."""
    try:
        left, top, width, height = map(float, note["bbox"])
        box = clamp_box((left, top, left + width, top + height), size)
    except (KeyError, TypeError, ValueError):
        return None
    label = labels.get(note.get("category_id"))
    return {"image": 0, "box": list(box)} | ({"label": label} if label else {})
