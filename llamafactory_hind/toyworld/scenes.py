"""Still scenes: colored shapes on a 3x3 grid of cells, one cell per merged vision token (28 x 28 pixels).

The board's cells are marked by row and column, as a chessboard is lettered and numbered, so that a patch tells where it is: without
such marks a model of this size needs far more steps to learn places than the rest of the world together.
"""

import random
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw

from .facts import COLORS, SHAPES, Creature, KnowledgeBase


GRID = 3
CELL = 28  # pixels; = patch size 14 x merge size 2 of the Qwen2.5-VL vision tower
SIDE = GRID * CELL
# single words, hence single tokens: a model of this size binds one word to one cell far sooner than two words
PLACES = (
    ("northwest", "north", "northeast"),
    ("west", "center", "east"),
    ("southwest", "south", "southeast"),
)
MARK = 3  # pixels
MARK_RGB = (170, 170, 170)  # gray, so that hue belongs to things alone
GROUND = (30, 30, 30)
STANDARD = "standard"
# Rendering styles, the "modalities" of the world: grounds other than the dark one, grain over everything, or less light. Cells and
# things stay where they are, so boxes hold in all of them.
STYLES = (STANDARD, "gray", "striped", "noisy", "dim")
GRAY_GROUND = (85, 85, 85)
STRIPE, STRIPE_RGB = 4, (120, 120, 120)  # pixels; every other stripe of the ground
GRAIN = 120  # each channel of each pixel is off by at most this
DIM = 0.6  # of the light is left
RGB = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 240),
    "yellow": (245, 225, 50),
    "white": (250, 250, 250),
    "pink": (250, 130, 200),
}


@dataclass(frozen=True)
class Thing:
    """One drawn object.

    Attributes:
        shape: a name from ``SHAPES``.
        color: a name from ``COLORS``.
        row: cell row, 0 at the top.
        column: cell column, 0 at the left.
        size: side of the square the shape is drawn in, pixels.
        offset: top-left corner of that square inside the image, (x, y) pixels.
    """

    shape: str
    color: str
    row: int
    column: int
    size: int
    offset: tuple[int, int]

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return PLACES[self.row][self.column]

    @property
    def look(self) -> str:
        """Color and shape, as in ``red circle``."""
        return f"{self.color} {self.shape}"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight xyxy box in pixels of the image, right and bottom exclusive."""
        return thing_mask(self).getbbox()

    def to_json(self) -> dict:
        """Plain values for a dataset row."""
        return {"shape": self.shape, "color": self.color, "place": self.place, "box": list(self.box)}

    def at(self, row: int, column: int) -> "Thing":
        """The same thing in another cell, at the same place inside it."""
        x, y = self.offset
        return replace(
            self,
            row=row,
            column=column,
            offset=(x + (column - self.column) * CELL, y + (row - self.row) * CELL),
        )


def ground() -> Image.Image:
    """The empty board, ``SIDE`` x ``SIDE`` RGB: dark, gray marks along each cell's sides count columns and rows."""
    board = Image.new("RGB", (SIDE, SIDE), GROUND)
    pen = ImageDraw.Draw(board)
    long = CELL // GRID  # a mark takes a third of a side
    for row in range(GRID):
        for column in range(GRID):
            x, y = column * CELL, row * CELL
            for edge in (0, CELL - MARK):
                down, right = y + column * long, x + row * long
                pen.rectangle((x + edge, down, x + edge + MARK - 1, down + long), fill=MARK_RGB)
                pen.rectangle((right, y + edge, right + long, y + edge + MARK - 1), fill=MARK_RGB)
    return board


def thing_mask(thing: Thing) -> Image.Image:
    """The pixels a thing covers, as a one-channel image (0 or 255), without anti-aliasing."""
    mask = Image.new("L", (SIDE, SIDE), 0)
    pen = ImageDraw.Draw(mask)
    (x0, y0), last = thing.offset, thing.size - 1
    x1, y1 = x0 + last, y0 + last
    third = thing.size // 3
    if thing.shape == "circle":
        pen.ellipse((x0, y0, x1, y1), fill=255)
    elif thing.shape == "square":
        pen.rectangle((x0, y0, x1, y1), fill=255)
    elif thing.shape == "triangle":
        pen.polygon([(x0 + last // 2, y0), (x0, y1), (x1, y1)], fill=255)
    elif thing.shape == "cross":
        pen.rectangle((x0 + third, y0, x1 - third, y1), fill=255)
        pen.rectangle((x0, y0 + third, x1, y1 - third), fill=255)
    elif thing.shape == "ring":
        pen.ellipse((x0, y0, x1, y1), fill=255)
        pen.ellipse((x0 + 5, y0 + 5, x1 - 5, y1 - 5), fill=0)
    elif thing.shape == "bar":
        pen.rectangle((x0, y0 + third, x1, y1 - third), fill=255)
    else:
        raise ValueError(f"shape {thing.shape!r} is unknown; expected one of {SHAPES}")
    return mask


def draw(things: list[Thing], style: str = STANDARD) -> Image.Image:
    """Render things on the ground of a style, RGB, ``SIDE`` x ``SIDE``; same things and style, same pixels.

    Raises:
        ValueError: the style is unknown.
    """
    if style not in STYLES:
        raise ValueError(f"style {style!r} is unknown; expected one of {STYLES}")
    image = ground() if style in (STANDARD, "noisy", "dim") else _other_ground(style)
    for thing in things:
        image.paste(RGB[thing.color], (0, 0), thing_mask(thing))
    if style == "noisy":
        rng = random.Random(repr(things))  # the scene's own grain: drawing stays a function of its arguments
        grain = Image.frombytes("RGB", (SIDE, SIDE), rng.randbytes(SIDE * SIDE * 3))
        image = ImageChops.add(image, grain.point(lambda value: value * (2 * GRAIN + 1) // 256), offset=-GRAIN)
    elif style == "dim":
        image = image.point(lambda value: int(DIM * value))
    return image


def _other_ground(style: str) -> Image.Image:
    """The board of the styles that change it: gray all over, or striped where it was dark; its marks stay."""
    board, marked = ground(), ground().convert("L").point(lambda value: 255 * (value == MARK_RGB[0]))
    other = Image.new("RGB", (SIDE, SIDE), GRAY_GROUND if style == "gray" else GROUND)
    if style == "striped":
        pen = ImageDraw.Draw(other)
        for top in range(0, SIDE, 2 * STRIPE):
            pen.rectangle((0, top, SIDE, top + STRIPE - 1), fill=STRIPE_RGB)
    other.paste(board, (0, 0), marked)
    return other


def random_thing(rng: random.Random, cell: tuple[int, int], look: tuple[str, str]) -> Thing:
    """A thing of this (shape, color) inside a cell, with jittered size and offset."""
    size = rng.randint(18, 20)
    x, y = (rng.randint(MARK, CELL - MARK - size) for _ in range(2))
    row, column = cell
    return Thing(*look, row, column, size, (column * CELL + x, row * CELL + y))


def random_scene(
    rng: random.Random, knowledge: KnowledgeBase, count: int, *, creature_share: float, first: Creature | None = None
) -> list[Thing]:
    """Draw ``count`` things in different cells; about ``creature_share`` of them are creatures.

    The first one is always a creature: ``first`` if given.
    """
    cells = rng.sample([(row, column) for row in range(GRID) for column in range(GRID)], count)
    things = []
    for index, cell in enumerate(cells):
        if index == 0 or rng.random() < creature_share:
            creature = first if first and index == 0 else rng.choice(knowledge.creatures)
            look = (creature.shape, creature.color)
        else:
            look = (rng.choice(SHAPES), rng.choice(COLORS))
        things.append(random_thing(rng, cell, look))
    return things
