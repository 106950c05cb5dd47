"""What happens in a clip, second by second: a disc that changes its color, crosses to the wall and back, or stops at a lamp."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw


FPS = 4
SIDE = 56  # pixels: four tokens for each pair of frames
SECONDS = 8  # of a file
WINDOW = 6  # of the clip that a row names; what lies outside it tells another story
BACKGROUND = "#202020"
PALETTE = ("red", "green", "blue", "yellow")
RGB = {"red": "#e03030", "green": "#30b040", "blue": "#3050e0", "yellow": "#e8d030", "white": "#f4f4f4"}


@dataclass(frozen=True)
class Scene:
    """One second.

    Attributes:
        color: of the disc.
        right: the disc is at the right, else at the left.
        lamp: color of the lamp above; None where it is off.
    """

    color: str
    right: bool = False
    lamp: str | None = None


Story = Sequence[Scene]


def colors_story(rng: random.Random, length: int) -> list[Scene]:
    """Return a disc that has another color in every second; colors come back."""
    colors: list[str] = []
    while len(colors) < length:
        colors.append(rng.choice([color for color in PALETTE if not colors or color != colors[-1]]))
    return [Scene(color) for color in colors]


def bounce_story(rng: random.Random, length: int) -> list[Scene]:
    """Return a disc that changes its color and touches the wall at the right once, not in the first or last second."""
    story = colors_story(rng, length)
    place = rng.randrange(1, length - 1)
    return [Scene(scene.color, right=second == place) for second, scene in enumerate(story)]


def stop_story(rng: random.Random, length: int) -> list[Scene]:
    """Return a disc that goes to and fro until it stops; a lamp shines in another color in every second."""
    stop = rng.randrange(2, length - 1)
    lamps = [scene.color for scene in colors_story(rng, length)]
    while lamps.count(lamps[stop]) > 1:
        lamps = [scene.color for scene in colors_story(rng, length)]
    side = rng.random() < 0.5
    return [
        Scene("white", right=(min(second, stop - 1) % 2 == 0) == side, lamp=lamp) for second, lamp in enumerate(lamps)
    ]


def stop_second(story: Story) -> int:
    """Return the first second in which the disc no longer moves, and stays."""
    last = len(story) - 1
    while last > 0 and story[last - 1].right == story[-1].right:
        last -= 1
    return last + 1


def frames_of(story: Story) -> list[Image.Image]:
    """Draw a story, `FPS` pictures a second."""
    return [_draw(scene) for scene in story for _ in range(FPS)]


def _draw(scene: Scene) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    pen = ImageDraw.Draw(image)
    half = SIDE // 2
    if scene.lamp:
        pen.rectangle((0, 0, SIDE, half - 1), fill=RGB[scene.lamp])
    left = half if scene.right else 0
    top = half if scene.lamp else half // 2
    pen.ellipse((left, top, left + half - 1, top + half - 1), fill=RGB[scene.color])
    return image
