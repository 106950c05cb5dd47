"""Short clips of moving shapes: MP4 through PyAV, with the second at which each event begins and ends."""

import random
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from .facts import COLORS, SHAPES
from .scenes import CELL, GRID, Thing, draw, random_thing


FPS = 8
SECONDS = 4
# One thread. Without macroblock-tree rate control, which reads memory that it did not write: about one file in a hundred
# would have a few other bytes.
ENCODER = {"crf": "12", "threads": "1", "x264-params": "mbtree=0"}


@dataclass(frozen=True)
class Event:
    """Something that happens to one thing.

    Attributes:
        kind: ``moves``, ``turns`` (changes its color) or ``vanishes``.
        thing: look of the thing before the event.
        start: seconds from the start of the clip; the last frame before it shows the old state.
        end: seconds; the first frame at or after it shows the new state.
        detail: for ``moves`` the look of what stops it, for ``turns`` the new color, else empty.
    """

    kind: str
    thing: str
    start: float
    end: float
    detail: str

    @property
    def sentence(self) -> str:
        """As words: ``the red circle turns blue``."""
        return f"the {self.thing} {self.kind}" + (f" {self.detail}" if self.kind == "turns" else "")


@dataclass(frozen=True)
class Clip:
    """Frames and what happens in them."""

    frames: list[Image.Image]
    events: list[Event]


def random_clip(rng: random.Random) -> Clip:
    """Three things in three rows: one slides until another stops it, one turns or vanishes; in either order."""
    looks = rng.sample([(shape, color) for shape in SHAPES for color in COLORS], 3)
    rows = rng.sample(range(GRID), 2)
    mover = random_thing(rng, (rows[0], 0), looks[0])
    blocker = random_thing(rng, (rows[0], 2), looks[1])
    other = random_thing(rng, (rows[1], rng.randrange(GRID)), looks[2])
    first, second = (0.5, 1.5), (2.25, 3.25)
    move_span, change_span = rng.sample([first, second], 2)
    changed = None if rng.random() < 0.5 else rng.choice([color for color in COLORS if color != other.color])
    frames = []
    for index in range(FPS * SECONDS):
        second_now = index / FPS
        things = [_sliding(mover, second_now, *move_span), blocker]
        if second_now < change_span[0]:
            things.append(other)
        elif changed:
            things.append(replace(other, color=changed))
        frames.append(draw(things))
    change_end = change_span[0]  # a change is sudden
    change = Event("turns" if changed else "vanishes", other.look, change_span[0], change_end, changed or "")
    events = [Event("moves", mover.look, *move_span, blocker.look), change]
    return Clip(frames, sorted(events, key=lambda event: event.start))


def _sliding(mover: Thing, now: float, start: float, end: float) -> Thing:
    """The mover on its way from the left column to the middle one, in whole pixels."""
    share = min(1.0, max(0.0, (now - start) / (end - start)))
    x, y = mover.offset
    return replace(mover, offset=(x + round(share * CELL), y))


def write_mp4(path: Path, frames: list[Image.Image], fps: int = FPS) -> None:
    """Encode frames as H.264 with ``fps`` frames a second; the bytes depend on the frames alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODER)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def video_rows(rng: random.Random, clip: Clip, path: str, number: int) -> list[dict]:
    """Rows of the ``video_reasoning`` format: which first, what after, what before, why stopped; five options each."""
    before, after = clip.events
    stop = next(event for event in clip.events if event.kind == "moves")
    looks = [f"the {color} {shape}" for color in COLORS for shape in SHAPES]
    steps = f"At {before.start:g} s {before.sentence}. At {after.start:g} s {after.sentence}."
    asked = [
        ("TP", "Which thing changes first?", f"the {before.thing}", looks, steps),
        ("TN", f"What changes after {before.sentence}?", f"the {after.thing}", looks, steps),
        (
            "CW",
            f"Why does the {stop.thing} stop?",
            f"the {stop.detail}",
            looks,
            f"The {stop.thing} slides until {stop.end:g} s. Then the {stop.detail} is in its way.",
        ),
    ]
    rows = []
    for kind, question, answer, pool, reasoning in asked:
        choices = [*rng.sample([option for option in pool if option != answer], 4), answer]
        rng.shuffle(choices)
        correct = rng.random() < 0.7
        told = answer if correct else rng.choice([option for option in choices if option != answer])
        rows.append(
            {
                "id": f"clip-{number}-{kind}",
                "videos": [path],
                "start": 0.0,
                "end": float(SECONDS),
                "question": question,
                "choices": choices,
                "answer": answer,
                "reasoning": f"{reasoning} So the answer is {told}.",
                "reasoning_correct": correct,
                "type": kind,
                "events": [vars(event) for event in clip.events],
            }
        )
    return rows
