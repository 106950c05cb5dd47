"""COCO pictures: how the releases of 2014 and 2017 name them, and which of them are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .entries import Entry, ImportRefused


def names_2014(split: str, image_id: int) -> tuple[str, str]:
    """Return `COCO_train2014_000000000042.jpg`, flat and in the folder of its split."""
    name = f"COCO_{split}_{image_id:012d}.jpg"
    return name, f"{split}/{name}"


def names_2017(split: str, image_id: int) -> tuple[str, str]:
    """Return `train2017/000000000042.jpg` and the name alone; `split` is train, val or test."""
    name = f"{image_id:012d}.jpg"
    return f"{split}2017/{name}", name


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry whose medium is there.

    Attributes:
        entry: of a released file.
        field: `images` or `videos`.
        name: of the medium, relative to its folder.
    """

    entry: Entry
    field: str
    name: str

    @property
    def row(self) -> dict[str, Any]:
        """The row with its medium, made anew each time."""
        return {"id": self.entry.row["id"], self.field: [self.name]} | self.entry.row


def place_images(
    entries: Sequence[Entry], folder: Path, *, skip_missing: bool, field: str = "images"
) -> tuple[list[Placed], int]:
    """Return every entry whose medium is there, and the number of those left out.

    Args:
        entries: in order.
        folder: of the media, which are relative to it.
        skip_missing: leave entries without their medium out.
        field: `images` or `videos`.

    Raises:
        ImportRefused: a picture is missing, and entries may not be left out or none would remain.
    """
    word = "pictures" if field == "images" else field
    if not folder.is_dir():
        raise ImportRefused(f"--{field} is not a folder.", [str(folder)], f"Give the folder of the {word}.")
    placed, missing = [], []
    for entry in entries:
        name = next((name for name in entry.images if (folder / name).is_file()), None)
        if name is None:
            missing.append(f"{entry.place}: {folder / entry.images[0]}")
        else:
            placed.append(Placed(entry, field, name))
    if missing and (not skip_missing or not placed):
        flag = "--skip-missing-images" if field == "images" else "--missing skip"
        also = ", ".join(f"`{name}`" for name in entries[0].images)
        remedy = f"Looked for names such as {also} in {folder}. Correct --{field}, or give {flag}."
        raise ImportRefused(f"The {word} of {len(missing)} of {len(entries)} questions are missing.", missing, remedy)
    return placed, len(missing)
