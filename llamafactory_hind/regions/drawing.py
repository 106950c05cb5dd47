"""Regions drawn into a picture, or cut out of it. Pillow alone; every function returns a new picture, never changes its own.

Draw on the ORIGINAL picture, before any resize. The results are RGB; transparency lies over white.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, ImageDraw

from .checks import Size, check_box, require_box, shorten
from .geometry import Box
from .palette import color


T = TypeVar("T")
Polygon = Sequence[Sequence[float]]  # of (x, y)

LINE = 2  # LSKD's width of an outline, in pixels
FOCAL_SIDE = 48  # DAM: a smaller crop looks blurred when enlarged to the model's size


def draw_boxes(image: Image.Image, boxes: Sequence[Box], *, indices: Sequence[int] | None = None) -> Image.Image:
    """Return the picture with LSKD's boxes: translucent, outlined, named by colour; each composited in turn, later over earlier.

    As `vc_utils.draw_region`, pixel for pixel; sides on the right and bottom border stay visible
    [ours].

    Args:
        image: any mode of 8 bits.
        boxes: (x1, y1, x2, y2) in pixels of this picture.
        indices: number of each box for its colour (`palette.color`); the place in the list by
            default. Boxes of one region share one.

    Raises:
        ValueError: a box with a problem, with its place; another count of indices; a picture of
            more than 8 bits.
    """
    require_boxes(boxes, image.size)
    picture = as_rgb(image).convert("RGBA")
    for box, index in numbered(boxes, indices, "boxes"):
        overlay = Image.new("RGBA", picture.size)
        fill, outline = color(index)
        ImageDraw.Draw(overlay).rectangle(on_pixels(box, picture.size), fill=fill, outline=outline, width=LINE)
        picture = Image.alpha_composite(picture, overlay)
    return picture.convert("RGB")


def draw_polygons(
    image: Image.Image, regions: Sequence[Sequence[Polygon]], *, indices: Sequence[int] | None = None
) -> Image.Image:
    """Return the picture with regions of polygons in LSKD's colours.

    A region is a list of polygons (VCR's `segms`), drawn one by one; the official code joins them
    into one, which draws lines between parts that do not touch.

    Args:
        image: any mode of 8 bits.
        regions: for each region its polygons, each a list of (x, y) in pixels of this picture.
        indices: number of each region for its colour; the place in the list by default.

    Raises:
        ValueError: a polygon with fewer than three points; another count of indices; a picture of
            more than 8 bits.
    """
    picture = as_rgb(image).convert("RGBA")
    for polygons, index in numbered(regions, indices, "regions"):
        overlay = Image.new("RGBA", picture.size)
        fill, outline = color(index)
        for polygon in polygons:
            points = [(float(x), float(y)) for x, y in polygon]
            if len(points) < 3 or not all(map(math.isfinite, (value for point in points for value in point))):
                expected = "three points [x, y] or more"
                raise ValueError(
                    f"region {index}: got polygon {shorten(polygon)}, expected {expected}. Draw its box instead."
                )
            ImageDraw.Draw(overlay).polygon(points, fill=fill, outline=outline, width=LINE)
        picture = Image.alpha_composite(picture, overlay)
    return picture.convert("RGB")


def focal_box(box: Box, image_size: Size, *, min_side: int = FOCAL_SIDE) -> tuple[int, int, int, int]:
    """Return DAM's focal crop of a box, (left, top, right, bottom) in whole pixels.

    The box grows to at least `min_side` (around its centre), then by its own width and height on
    each side, that is to three times, and is cut at the border (NVlabs/describe-anything,
    `crop_image`, `focal_crop`).

    Raises:
        ValueError: a box with a problem.
    """
    require_box(box, image_size)
    left, right = _focal_side(box[0], box[2], int(image_size[0]), min_side)
    top, bottom = _focal_side(box[1], box[3], int(image_size[1]), min_side)
    return left, top, right, bottom


def crop(image: Image.Image, box: Box, *, min_side: int = FOCAL_SIDE) -> Image.Image:
    """Return DAM's focal crop of a box (`focal_box`), in the mode of the picture.

    Raises:
        ValueError: a box with a problem.
    """
    return image.crop(focal_box(box, image.size, min_side=min_side))


def numbered(items: Sequence[T], numbers: Sequence[int] | None, name: str) -> list[tuple[T, int]]:
    """Return each item with its number: its place in the list where none are given.

    Raises:
        ValueError: another count of numbers, or one below 0.
    """
    given = list(range(len(items)) if numbers is None else numbers)
    if len(given) != len(items) or min(given, default=0) < 0:
        raise ValueError(f"got numbers {shorten(given)} for {len(items)} {name}, expected one each, 0 or above.")
    return list(zip(items, given, strict=True))


def require_boxes(boxes: Sequence[Box], image_size: Size) -> None:
    """Raise what is wrong with the first bad box, with its place in the list.

    Raises:
        ValueError: a box with a problem.
    """
    for place, box in enumerate(boxes):
        problem = check_box(box, image_size)
        if problem is not None:
            raise ValueError(f"box {place}: {problem}")


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a new picture, RGB of 8 bits, with transparency over white.

    Raises:
        ValueError: a picture of more than 8 bits a channel, which a conversion would cut off.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        expected = "8 bits a channel"
        raise ValueError(
            f"picture: got mode {image.mode}, expected {expected}. Scale its gray values to 0..255 first."
        )
    if image.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in image.info:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    opaque = image.convert("LA") if image.mode == "La" else image  # Pillow knows no other way out of it
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, opaque.convert("RGBA")).convert("RGB")


def on_pixels(box: Box, image_size: Size) -> tuple[float, float, float, float]:
    """Return a box as Pillow draws it, last column and row included; those on the border stay in the picture."""
    (last_column, last_row), (left, top, right, bottom) = (image_size[0] - 1, image_size[1] - 1), box
    return min(left, last_column), min(top, last_row), min(right, last_column), min(bottom, last_row)


def _focal_side(low: float, high: float, length: int, min_side: int) -> tuple[int, int]:
    first, end = math.floor(low), math.ceil(high)
    side = max(end - first, min_side)
    start = int((first + end) / 2 - side / 2)
    return max(start - side, 0), min(start + 2 * side, length)
