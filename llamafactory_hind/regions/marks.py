"""Set-of-Mark (arXiv 2310.11441): a number beside each region, for models that read numbers. Placing and colours are [ours]."""

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from .drawing import as_rgb, numbered, require_boxes
from .geometry import Box, box_area


Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; the last column and row are outside

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# Of the shorter side of the picture; a number of 1/24 is 18 pixels high on a picture of 448.
FONT_SHARE, LINE_SHARE = 24, 400
LEAST_FONT = 12


def draw_marks(image: Image.Image, boxes: Sequence[Box], *, numbers: Sequence[int] | None = None) -> Image.Image:
    """Return the picture with an outline around each box and its number on a plate.

    Numbers are white on a black plate with a white rim, contrast 21:1. Outlines are a white line
    between two black ones, around the box and not over it: whatever is beneath, one of the two has
    a contrast of 4.5:1 or more. Plates stand in a corner of their box, beside it where the box is
    small, and apart from each other where there is room.

    Args:
        image: any mode of 8 bits.
        boxes: (x1, y1, x2, y2) in pixels of this picture.
        numbers: what is painted; the place in the list by default, as the mentions `<region:k>`
            count.

    Raises:
        ValueError: a box with a problem, with its place; another count of numbers; a picture of
            more than 8 bits.
    """
    require_boxes(boxes, image.size)
    pairs = numbered(boxes, numbers, "boxes")
    picture = as_rgb(image)
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / LINE_SHARE))
    for box, _ in pairs:
        _outline(draw, box, picture.size, line)
    font = _font(max(LEAST_FONT, round(min(picture.size) / FONT_SHARE)))
    plates: list[Rectangle] = []
    for box, number in pairs:  # after all outlines: no line crosses a number
        plate = _place(_plate_size(str(number), font, line), box, picture.size, plates)
        _plate(draw, plate, str(number), font, line)
        plates.append(plate)
    return picture


def _outline(draw: ImageDraw.ImageDraw, box: Box, image_size: tuple[int, int], line: int) -> None:
    """Draw three lines around a box, moved inside where the picture ends."""
    for out, ink in ((3, BLACK), (2, WHITE), (1, BLACK)):
        margin = out * line
        inset = (3 - out) * line  # so that lines which meet the border lie side by side
        left, top = max(int(box[0]) - margin, inset), max(int(box[1]) - margin, inset)
        right = min(int(-(-box[2] // 1)) - 1 + margin, image_size[0] - 1 - inset)
        bottom = min(int(-(-box[3] // 1)) - 1 + margin, image_size[1] - 1 - inset)
        if left <= right and top <= bottom:
            draw.rectangle((left, top, right, bottom), outline=ink, width=line)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except (ImportError, OSError, TypeError):  # an older Pillow, or one without FreeType: its one small font
        return ImageFont.load_default()


def _plate_size(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, line: int) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text)
    pad = 2 * (2 * line + 1)
    return int(right - left) + pad, int(bottom - top) + pad


def _plate(
    draw: ImageDraw.ImageDraw,
    plate: Rectangle,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
) -> None:
    left, top, right, bottom = plate
    draw.rectangle((left, top, right - 1, bottom - 1), fill=BLACK, outline=WHITE, width=line)
    pad = 2 * line + 1
    offset_x, offset_y, _, _ = font.getbbox(text)
    draw.text((left + pad - offset_x, top + pad - offset_y), text, fill=WHITE, font=font)


def _place(size: tuple[int, int], box: Box, image_size: tuple[int, int], taken: Sequence[Rectangle]) -> Rectangle:
    """Return the first place that covers the least of the plates before it."""
    places = [_inside(left, top, size, image_size) for left, top in _corners(size, box)]
    return min(places, key=lambda place: sum(_shared(place, other) for other in taken))


def _corners(size: tuple[int, int], box: Box) -> Iterator[tuple[int, int]]:
    """Yield left top corners of a plate: in the box's corners, then beside the box; the other way round for a small box."""
    (width, height), (left, top, right, bottom) = size, (round(value) for value in box)
    within = [(left, top), (right - width, top), (left, bottom - height), (right - width, bottom - height)]
    beside = [(left, top - height), (left, bottom), (left - width, top), (right, top)]
    small = 2 * width > right - left or 2 * height > bottom - top
    yield from (beside + within) if small else (within + beside)


def _inside(left: int, top: int, size: tuple[int, int], image_size: tuple[int, int]) -> Rectangle:
    left = max(min(left, image_size[0] - size[0]), 0)
    top = max(min(top, image_size[1] - size[1]), 0)
    return left, top, left + size[0], top + size[1]


def _shared(one: Rectangle, other: Rectangle) -> float:
    return box_area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
