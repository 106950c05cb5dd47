"""Questions about a story that no single frame answers, with their answers and the reasoning that leads there."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .stories import PALETTE, Story, stop_second


COUNTS = ("never", "once", "twice", "three times")
LAMPS = tuple(f"the {color} lamp" for color in PALETTE)


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        kind: NExT-QA's name of its type: TP, TN, TC (time), CW (why), DC (how often).
        reasoning: sentences that lead to the answer; the last one names it.
    """

    kind: str
    text: str
    answer: str
    choices: Sequence[str]
    reasoning: str


def color_questions(rng: random.Random, story: Story) -> Iterator[Question]:
    """Yield what comes first, what comes next, and how often, where the story has such a question."""
    colors = [scene.color for scene in story]
    told = f"It is {listed(colors)}."
    once = [color for color in colors[:-1] if colors.count(color) == 1]
    first, second = rng.sample(sorted(set(colors)), 2)
    if colors.index(first) > colors.index(second):
        first, second = second, first
    shown = rng.sample([first, second], 2)
    asked = f"Which comes first, {shown[0]} or {shown[1]}?"
    yield Question("TP", asked, first, PALETTE, f"{told} The {first} comes before the {second}.")
    if once:
        color = rng.choice(once)
        after = colors[colors.index(color) + 1]
        asked = f"What comes right after {color}?"
        yield Question("TN", asked, after, PALETTE, f"{told} After the {color} it is {after}.")
    color = rng.choice([color for color in PALETTE if colors.count(color) < len(COUNTS)])
    often = COUNTS[colors.count(color)]
    yield Question("DC", f"How often is it {color}?", often, COUNTS, f"{told} The {color} comes {often}.")


def bounce_questions(rng: random.Random, story: Story) -> Iterator[Question]:
    """Yield what color there is just before, or just after, the wall is touched."""
    place = next(second for second, scene in enumerate(story) if scene.right)
    word, step = rng.choice((("before", -1), ("after", 1)))
    answer = story[place + step].color
    told = [scene.color + " at the wall" * scene.right for scene in story]
    asked = f"What color is it right {word} the bounce?"
    reasoning = f"It is {listed(told)}. Right {word} the wall it is {answer}."
    yield Question("TC", asked, answer, PALETTE, reasoning)


def stop_questions(rng: random.Random, story: Story) -> Iterator[Question]:
    """Yield why the disc stops: the lamp of the second in which it no longer moves."""
    stop = stop_second(story)
    lamps = [f"{scene.lamp}" for scene in story]
    reasoning = f"The lamp is {listed(lamps)}. It stops when the lamp is {lamps[stop]}."
    yield Question("CW", "Why does it stop?", f"the {lamps[stop]} lamp", LAMPS, reasoning)


def listed(words: Sequence[str]) -> str:
    """Return `red, then blue, then red`."""
    return ", then ".join(words)
