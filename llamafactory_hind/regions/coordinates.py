"""Boxes between pixels of the original picture and a model's own numbers and text, by the table of conventions."""

import math
from collections.abc import Sequence

from .checks import SLACK, Corners, Size, are_numbers, clip, require_box, require_size, shorten
from .conventions import CELLS, Axis, Convention, get_convention
from .geometry import Box


def to_model(box: Box, *, image_size: Size, processed_size: Size | None = None, convention: str) -> tuple[float, ...]:
    """Return a box in a model's own numbers, in the model's order.

    Args:
        box: (x1, y1, x2, y2) in pixels of the original picture.
        image_size: (width, height) of the original picture.
        processed_size: (width, height) of the picture as fed to the model; only `qwen2_5_vl` needs
            it (in LLaMA-Factory: `image_grid_thw` · patch size). `llava` and `shikra` refer to the
            picture padded to a square, whatever its size.
        convention: a name of `CONVENTIONS`; its entry says order, grid, rounding and source.

    Returns:
        Four numbers; two for `kosmos2` (first and last patch) and for `molmo` (the centre of the
        box, in percent).

    Raises:
        ValueError: no such convention or size, or a box with a problem (`check_box`).
    """
    rule, across, down = _resolve(convention, image_size, processed_size)
    require_box(box, image_size)
    left, top, right, bottom = (float(number) for number in box)
    if rule.numbers == "point":
        return rule.write((left + right) / 2, across), rule.write((top + bottom) / 2, down)
    if rule.numbers == "cells":
        cells = (
            (rule.write(left, across), rule.write(top, down)),
            (_last_cell(right, across), _last_cell(bottom, down)),
        )
        return tuple(int(column + row * CELLS) for column, row in cells)
    xs = [rule.write(value + across.offset, across) for value in (left, right)]
    ys = [rule.write(value + down.offset, down) for value in (top, bottom)]
    if rule.numbers == "corners_y_first":
        return ys[0], xs[0], ys[1], xs[1]
    return xs[0], ys[0], xs[1], ys[1]


def from_model(
    numbers: Sequence[float], *, image_size: Size, processed_size: Size | None = None, convention: str
) -> Corners:
    """Return a model's own numbers as (x1, y1, x2, y2) in pixels of the original picture, cut to it.

    A box thinner than the grid comes back with x1 = x2 or y1 = y2, and a point as (x, y, x, y): an
    area of 0.

    Args:
        numbers: in the model's order, as `to_model` returns them.
        image_size: (width, height) of the original picture.
        processed_size: as for `to_model`.
        convention: a name of `CONVENTIONS`.

    Raises:
        ValueError: no such convention or size, another count of numbers, NaN, corners in the wrong
            order, more than 5 % [ours] off the grid, or a box in the padding alone.
    """
    rule, across, down = _resolve(convention, image_size, processed_size)
    xs, ys = _split(numbers, rule, across, down)
    if rule.numbers == "cells":
        left, top, right, bottom = _from_cells(xs, ys, across, down)
    else:
        left, right = (rule.read(number, across) - across.offset for number in xs)
        top, bottom = (rule.read(number, down) - down.offset for number in ys)
    # In a picture thinner than the grid, a box may round into the padding.
    (width, height), slack_x, slack_y = image_size, SLACK * across.length, SLACK * down.length
    if right < -slack_x or bottom < -slack_y or left > width + slack_x or top > height + slack_y:
        raise ValueError(f"{rule.name}: got {shorten(numbers)}, which lies outside the picture, in its padding.")
    return clip((left, top, right, bottom), image_size)


def format_box(
    box: Box, *, image_size: Size, processed_size: Size | None = None, convention: str, label: str | None = None
) -> str:
    """Return a box as the model writes it, with its label where the form has one.

    Args:
        box: (x1, y1, x2, y2) in pixels of the original picture.
        image_size: (width, height) of the original picture.
        processed_size: as for `to_model`.
        convention: a name of `CONVENTIONS`.
        label: what is in the box. `llava`, `shikra`, `cogvlm` and `glm4v` have no place for it:
            write it before the box.

    Raises:
        ValueError: as `to_model`.
    """
    numbers = to_model(box, image_size=image_size, processed_size=processed_size, convention=convention)
    return get_convention(convention).write_text(numbers, label)


def parse_boxes(text: str, *, image_size: Size, processed_size: Size | None = None, convention: str) -> list[Corners]:
    """Return the boxes of a model's text in pixels of the original picture, in the order of the text.

    Reads what models write: several boxes, labels or none, blanks, any kind of bracket. What is
    malformed is left out: another count of numbers, corners in the wrong order, numbers off the
    grid, a text that breaks off. No text raises.

    Args:
        text: of a model.
        image_size: (width, height) of the original picture.
        processed_size: as for `to_model`.
        convention: a name of `CONVENTIONS`. Points (`molmo`) come as (x, y, x, y).

    Raises:
        ValueError: no such convention or size.
    """
    rule, _, _ = _resolve(convention, image_size, processed_size)
    boxes = []
    for numbers in rule.read_text(text):
        try:
            box = from_model(numbers, image_size=image_size, processed_size=processed_size, convention=convention)
        except ValueError:
            continue
        boxes.append(box)
    return boxes


def _resolve(name: str, image_size: Size, processed_size: Size | None) -> tuple[Convention, Axis, Axis]:
    """Return a convention and the two axes of what it refers to."""
    rule = get_convention(name)
    require_size(image_size, "image_size")
    width, height = image_size
    if rule.frame == "processed":
        if processed_size is None:
            needed = "(width, height) of the picture as fed to the model"
            raise ValueError(f"`processed_size`: got None, expected {needed}: {name} writes its pixels. Pass it.")
        require_size(processed_size, "processed_size")
        return rule, Axis(width, 0, processed_size[0]), Axis(height, 0, processed_size[1])
    if rule.frame == "padded":
        side = max(width, height)
        return rule, Axis(side, (side - width) // 2, side), Axis(side, (side - height) // 2, side)
    return rule, Axis(width, 0, width), Axis(height, 0, height)


def _split(numbers: Sequence[float], rule: Convention, across: Axis, down: Axis) -> tuple[list[float], list[float]]:
    """Return the numbers of each axis, the smaller first; cells as columns and rows."""
    count = 2 if rule.numbers in ("cells", "point") else 4
    if not are_numbers(numbers, count):
        raise ValueError(f"{rule.name}: got {shorten(numbers)}, expected {count} finite numbers.")
    values = [float(number) for number in numbers]
    if rule.numbers == "cells":
        if not all(0 <= value <= CELLS**2 - 1 and value.is_integer() for value in values):
            raise ValueError(f"{rule.name}: got {shorten(numbers)}, expected patches 0 to {CELLS**2 - 1}.")
        xs, ys = [value % CELLS for value in values], [value // CELLS for value in values]
    elif rule.numbers == "point":
        xs, ys = [values[0]] * 2, [values[1]] * 2
    else:
        xs, ys = (values[1::2], values[0::2]) if rule.numbers == "corners_y_first" else (values[0::2], values[1::2])
    if xs[0] > xs[1] or ys[0] > ys[1]:
        raise ValueError(f"{rule.name}: got {shorten(numbers)}, expected the left top corner first.")
    if rule.numbers != "cells":
        for pair, axis in ((xs, across), (ys, down)):
            highest = axis.fed if rule.highest is None else rule.highest
            if min(pair) < -SLACK * highest or max(pair) > (1 + SLACK) * highest:
                raise ValueError(f"{rule.name}: got {shorten(numbers)}, expected numbers from 0 to {highest:g}.")
    return xs, ys


def _last_cell(value: float, axis: Axis) -> int:
    """Return the cell that ends at or after a value: Kosmos-2's `ceil(share * 32 - 1)`."""
    return max(math.ceil(value / axis.length * CELLS - 1), 0)


def _from_cells(xs: list[float], ys: list[float], across: Axis, down: Axis) -> Corners:
    """Return the centres of the two cells; the outer edges where they share a row or a column, as Kosmos-2 decodes."""
    share = 1.0 if xs[0] == xs[1] or ys[0] == ys[1] else 0.5
    width, height = across.length / CELLS, down.length / CELLS
    return (
        (xs[0] + 1 - share) * width,
        (ys[0] + 1 - share) * height,
        (xs[1] + share) * width,
        (ys[1] + share) * height,
    )
