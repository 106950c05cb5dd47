"""The boxes of a row in one shape, whatever its format calls them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..storage.digests import split_drawing


ROW, MODEL = "row", "model"  # where a box comes from


def box_entry(image: int, box: Sequence[float], label: Any, origin: str) -> dict[str, Any]:
    """Return a box in the one shape; `image` counts the pictures as they are shown, `box` is x1 y1 x2 y2 in original pixels."""
    return {"image": image, "box": list(box), "label": None if label is None else str(label), "origin": origin}


def row_boxes(columns: Mapping[str, Any], pictures: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the boxes that a row has: its `regions`, its `objects`, and its gold `box` or `boxes` where they are others.

    Args:
        columns: of the row.
        pictures: as they are shown to the model; those that were cut out of others do not count.

    Returns:
        Entries of `image`, `box`, `label`, `origin`; what is no box is left out.
    """
    shown = [place for place, picture in enumerate(pictures) if not is_crop(picture)] or [0]
    found = []
    for field in ("regions", "objects"):
        for entry in _entries(columns.get(field)):
            box, image = as_box(entry.get("box")), entry.get("image") or 0
            if box is not None and isinstance(image, int) and 0 <= image < len(shown):
                found.append(box_entry(shown[image], box, _label(entry), ROW))
    there = [entry["box"] for entry in found]
    image = columns.get("box_image") or 0
    for gold in _golds(columns):
        if gold not in there and isinstance(image, int) and 0 <= image < max(len(pictures), 1):
            found.append(box_entry(image, gold, "gold", ROW))
    return found


def is_crop(picture: Any) -> bool:
    """Say whether a picture is a part cut out of another."""
    drawing = split_drawing(picture)[1] if isinstance(picture, str) else None
    return drawing is not None and drawing.startswith('{"crop"')


def as_box(value: Any) -> list[float] | None:
    """Return four finite numbers with x1 < x2 and y1 < y2, None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value):
        return None
    return list(value) if value[0] < value[2] and value[1] < value[3] else None


def _entries(value: Any) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list) else ()


def _label(entry: Mapping[str, Any]) -> Any:
    if entry.get("label") is not None:
        return entry["label"]
    words = [str(entry[name]) for name in ("color", "shape") if isinstance(entry.get(name), str)]
    return " ".join(words) or None


def _golds(columns: Mapping[str, Any]) -> list[list[float]]:
    boxes = columns.get("boxes")
    candidates = [columns.get("box"), *(boxes if isinstance(boxes, list) else [])]
    return [box for box in map(as_box, candidates) if box is not None]
