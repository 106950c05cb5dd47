"""Pictures with regions drawn in, or cut out, when they are opened: `a.jpg#region={…}` says what, `a.jpg` stays as it is.

The text travels as a path does: through `datasets`, caches, collators and workers. What opens it
draws on the original pixels, before any resize.
"""

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from PIL import Image

from ...regions.drawing import crop, draw_boxes, draw_polygons
from ...regions.marks import draw_marks
from ...storage.digests import DRAWING, split_drawing
from .pictures import flatten, open_picture, orientation, upright


LYING = 5  # EXIF orientations from here on swap width and height


def with_drawing(path: str, drawing: Mapping[str, Any]) -> str:
    """Return the name of a picture with a drawing.

    Args:
        path: of the picture.
        drawing: `{"crop": box}`, or `{"marks": "boxes" | "numbers" | "polygons", "boxes", "numbers", "polygons"}`, as
            `show_regions` makes it; boxes are xyxy pixels of the original picture.
    """
    return path + DRAWING + json.dumps(drawing, separators=(",", ":"), sort_keys=True)


def drawing_of(medium: Any) -> Mapping[str, Any] | None:
    """Return what is drawn on a picture when it is opened; None where nothing is."""
    text = split_drawing(medium)[1] if isinstance(medium, str) else None
    return json.loads(text) if text else None


def draw_if_asked(medium: Any, *, as_host: bool = False) -> Any:
    """Return a picture with its drawing as a decoded one, any other medium as it is.

    Args:
        medium: any.
        as_host: a photo stays lying; else boxes are those of the picture as it is looked at.
    """
    drawing = drawing_of(medium)
    if drawing is None:
        return medium
    image = open_picture(split_drawing(medium)[0])
    return apply_drawing(image if as_host else flatten(upright(image)), drawing)


def apply_drawing(image: Image.Image, drawing: Mapping[str, Any]) -> Image.Image:
    """Return a picture with a drawing, in the picture's own size but for a crop.

    Raises:
        ValueError: a box that is none, or lies outside of the picture.
    """
    if "crop" in drawing:
        return crop(image, drawing["crop"])
    boxes, numbers = drawing["boxes"], drawing["numbers"]
    if drawing["marks"] == "numbers":
        return draw_marks(image, boxes, numbers=numbers)
    if drawing["marks"] == "boxes":
        return draw_boxes(image, boxes, indices=numbers)
    for box, number, polygons in zip(boxes, numbers, drawing["polygons"], strict=True):
        # A region without an outline of its own is drawn as its box.
        drawn = (draw_polygons, polygons) if polygons else (draw_boxes, box)
        image = drawn[0](image, [drawn[1]], indices=[number])
    return image


def picture_size(medium: Any, *, as_host: bool = False) -> tuple[int, int]:
    """Return (width, height) of a picture in pixels of its original, from its header alone where it is a file.

    Args:
        medium: a path, with or without a drawing; encoded bytes; `{"bytes", "path"}`; or a decoded picture.
        as_host: a photo stays lying.
    """
    if isinstance(medium, Mapping):
        medium = medium.get("bytes") or medium["path"]
    if isinstance(medium, str):
        return _file_size(split_drawing(medium)[0], as_host)
    return _size_of(medium if isinstance(medium, Image.Image) else Image.open(io.BytesIO(medium)), as_host)


@lru_cache(maxsize=4096)
def _file_size(path: str, as_host: bool) -> tuple[int, int]:
    with Image.open(path) as image:
        return _size_of(image, as_host)


def _size_of(image: Image.Image, as_host: bool) -> tuple[int, int]:
    width, height = image.size
    lies = not as_host and orientation(image) >= LYING
    return (height, width) if lies else (width, height)
