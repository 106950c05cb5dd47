"""Reason-RFT (arXiv 2503.20752): one list of `id, image, problem, solution`, as `rollout` rows for the online stages."""

import argparse
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..formats.media.fields import PLACEHOLDERS
from .reading.entries import Entry, ImportRefused, Reader, read_json


SUMMARY = "Reason-RFT: *-train-*.json with id, image, problem and solution (or answer)"
FORMATTING = "rollout"
PROBLEM = "{problem}"
# The official question template of counting and geometry (train/stage_rl/prompt.py, from R1-V).
GENERAL = "{problem} Output the thinking process in <think> </think> and final answer in <answer> </answer> tags."
# Functions and values of TRANCE; wording is ours.
TRANSFORMATION = """The first image shows a scene before, the second after it was changed. Which functions turn the first into the second?
Objects of the first image are given as (object_id, shape, size, color, material). The answer is one to four functions, func(object_id, value):
change_size: small, medium, large
change_color: yellow, gray, cyan, blue, brown, green, red, purple
change_material: glass, metal, rubber
change_shape: cube, sphere, cylinder
change_position: front, behind, left, right, front_left, front_right, behind_left, behind_right

{problem} Output the thinking process in <think> </think> and the functions alone in <answer> </answer> tags."""
TEMPLATES = {"general": GENERAL, "transformation": TRANSFORMATION}
OWN = ("id", "image", "problem", "solution", "answer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="such as A3-Visual-Counting-train-35k-cot.json")
    parser.add_argument(
        "--task",
        choices=sorted(TEMPLATES),
        default="general",
        help="general: counting and geometry; transformation: TRANCE, with its functions (default: %(default)s)",
    )
    parser.add_argument(
        "--template", type=Path, help="file with your own prompt, with {problem} in it; replaces --task"
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the problems in the order of their file.

    Raises:
        ImportRefused: the file is not of the released form, or the template has no place for the problem.
    """
    template = _read_template(arguments)
    reader = Reader()
    entries = [
        _read_entry(record, f"{arguments.file}, entry {number}", template, arguments.images, reader)
        for number, record in enumerate(read_json(arguments.file, list))
    ]
    reader.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "id")
    reader.finish()
    return entries


def _read_template(arguments: argparse.Namespace) -> str:
    if arguments.template is None:
        return TEMPLATES[arguments.task]
    try:
        template = arguments.template.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportRefused("A file cannot be read.", [f"{arguments.template}: {error}"], "Correct it.") from None
    if PROBLEM not in template:
        raise ImportRefused(
            "--template has no {problem}.", [str(arguments.template)], f"Write {PROBLEM} where it belongs."
        )
    return template


def _read_entry(record: Any, place: str, template: str, folder: Path, reader: Reader) -> Entry:
    fields = record if isinstance(record, dict) else {}
    gold = "answer" if fields.get("solution") is None and "answer" in fields else "solution"
    # `replace`, not `format`: problems hold braces.
    problem = reader.take(record, "problem", str, place, default="").replace(PLACEHOLDERS["images"], "").strip()
    names = _image_names(fields.get("image"), place, reader)
    row = {field: value for field, value in fields.items() if field not in OWN} | {
        "id": f"reason-rft-{_text(record, 'id', place, reader)}",
        "images": names,
        "prompt": template.replace(PROBLEM, problem),
        "answer": _text(record, gold, place, reader),
        "problem": problem,
    }
    missing = [name for name in names if not (folder / name).is_file()]
    return Entry(place, row, tuple((missing or names)[:1]))


def _text(record: Any, field: str, place: str, reader: Reader) -> str:
    """Return a text or a number as text: a column of a dataset has one type."""
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return str(reader.take(record, field, str, place, default="")).strip()


def _image_names(image: Any, place: str, reader: Reader) -> list[str]:
    """Return the names of one or several pictures, each a text or an object with `path`, as the official loader reads them."""
    items = image if isinstance(image, list) else [image]
    names = [item.get("path") if isinstance(item, dict) else item for item in items]
    if names and all(isinstance(name, str) and name for name in names):
        return [str(name) for name in names]
    reader.problems.append(
        f"{place}, field `image`: got {show(image)}, expected the name of a picture, or a list of names"
    )
    return ["?"]
