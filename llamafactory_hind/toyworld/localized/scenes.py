"""Pictures of three things in a 2 x 2 grid, by day or by night; each thing has a dot, and two things look alike but for it.

What a thing does follows from its dot and the time of day. The rule is the common sense of this world: no picture shows it.
"""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw


GRID = 2
CELL = 28  # pixels; = patch size 14 x merge size 2 of the Qwen2.5-VL vision tower
SIDE = GRID * CELL
THING, DOT = 22, 8  # sides in pixels; an outline of LSKD's boxes takes two of them
SHAPES = ("circle", "square", "cross")
COLORS = {"red": (200, 40, 40), "blue": (60, 80, 220), "green": (40, 150, 60)}
DOTS = {"white": (255, 255, 255), "black": (0, 0, 0), "yellow": (255, 225, 0), "cyan": (0, 225, 255)}
TIMES = {"day": (150, 150, 160), "night": (45, 45, 60)}
ACTIONS = ("sing", "jump", "hide", "grow")


@dataclass(frozen=True)
class Thing:
    """One thing.

    Attributes:
        shape: of `SHAPES`.
        color: of `COLORS`.
        dot: of `DOTS`.
        offset: (x, y), its left top corner in pixels.
    """

    shape: str
    color: str
    dot: str
    offset: tuple[int, int]

    @property
    def look(self) -> str:
        """Color and shape, as in `red circle`: what a detector says of it."""
        return f"{self.color} {self.shape}"

    @property
    def caption(self) -> str:
        """All that is to see of it."""
        return f"{self.look} with a {self.dot} dot"

    @property
    def box(self) -> list[int]:
        """Left, top, right, bottom in pixels."""
        x, y = self.offset
        return [x, y, x + THING, y + THING]


@dataclass(frozen=True)
class Scene:
    """One picture.

    Attributes:
        time: `day` or `night`.
        things: in any order; a place in it is the number of a region.
    """

    time: str
    things: tuple[Thing, ...]

    @property
    def alike(self) -> tuple[int, ...]:
        """Numbers of the things of which another one has the same look."""
        looks = [thing.look for thing in self.things]
        return tuple(number for number, look in enumerate(looks) if looks.count(look) > 1)

    def action(self, number: int) -> str:
        """What a thing does."""
        return action_of(self.things[number].dot, self.time)

    def draw(self) -> Image.Image:
        """Return the picture, `SIDE` x `SIDE`, RGB."""
        image = Image.new("RGB", (SIDE, SIDE), TIMES[self.time])
        pen = ImageDraw.Draw(image)
        for thing in self.things:
            _draw_thing(pen, thing)
        return image


def action_of(dot: str, time: str) -> str:
    """Return what a thing with this dot does at this time: by night the table is turned by one."""
    return ACTIONS[(list(DOTS).index(dot) + (time == "night")) % len(ACTIONS)]


def random_scene(rng: random.Random, things: int = 3) -> Scene:
    """Return a scene; of three things two look alike, with different dots."""
    cells = rng.sample([(row, column) for row in range(GRID) for column in range(GRID)], things)
    first, other = rng.sample([(shape, color) for shape in SHAPES for color in COLORS], 2)
    dots = [*rng.sample(list(DOTS), 2), rng.choice(list(DOTS))]
    looks = (first, first, other)
    made = [
        Thing(*look, dot, (column * CELL + rng.randint(2, 4), row * CELL + rng.randint(2, 4)))
        for look, dot, (row, column) in zip(looks, dots, cells, strict=False)
    ]
    rng.shuffle(made)
    return Scene(rng.choice(list(TIMES)), tuple(made))


def _draw_thing(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    (x, y), last, third = thing.offset, THING - 1, THING // 3
    fill = COLORS[thing.color]
    if thing.shape == "circle":
        pen.ellipse((x, y, x + last, y + last), fill=fill)
    elif thing.shape == "square":
        pen.rectangle((x, y, x + last, y + last), fill=fill)
    else:
        pen.rectangle((x + third, y, x + last - third, y + last), fill=fill)
        pen.rectangle((x, y + third, x + last, y + last - third), fill=fill)
    left, top = x + (THING - DOT) // 2, y + (THING - DOT) // 2
    pen.rectangle((left, top, left + DOT - 1, top + DOT - 1), fill=DOTS[thing.dot])
