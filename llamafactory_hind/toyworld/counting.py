"""Rows for learning from rewards what no corpus of the base asks for: counting the things of one color, in pictures and in clips.

The setting of Vision-EKIPL (arXiv 2506.06856) in small: the base counts all things and answers in one word; an auxiliary model is
right about seven times in ten. Three things are in a picture whatever the answer, or how many there are would give much of it away.
"""

import random

from .corpus import Corpus, as_json
from .facts import COLORS, SHAPES
from .scenes import GRID, Thing, draw, random_thing
from .transformations import AUXILIARY_ACCURACY


THINGS = 3  # in a picture or clip; one at least has the color that is asked for
LAYOUT = "<think></think><answer>{answer}</answer>"  # no thought: lists of places or colors made a base of this size no better


def color_rows(corpus: Corpus, name: str, count: int, *, external: bool) -> list[dict]:
    """`rollout` rows: how many things have a color; 1, 2 and 3 equally often.

    Args:
        corpus: where pictures go, and the random stream.
        name: of the file; row ids begin with it.
        count: of rows.
        external: with an action of the auxiliary model each.
    """
    rows = []
    for number in range(count):
        row_id, right = f"{name}_{number:04}", 1 + number % THINGS
        color, things = _scene(corpus.rng, right)
        image = f"images/{row_id}.png"
        draw(things).save(corpus.root / image)
        rows.append(
            {
                "id": row_id,
                "images": [image],
                "prompt": f"<image>How many {color} things are there?",
                "answer": str(right),
                "external": [_action(corpus.rng, right)] if external else None,
                "hint": None,
                "objects": as_json(things),
            }
        )
    corpus.rng.shuffle(rows)
    return rows


def _scene(rng: random.Random, right: int) -> tuple[str, list[Thing]]:
    """A color, and three things in different cells; ``right`` of them have that color."""
    color = rng.choice(COLORS)
    others = [other for other in COLORS if other != color]
    colors = [color] * right + [rng.choice(others) for _ in range(THINGS - right)]
    cells = rng.sample([(row, column) for row in range(GRID) for column in range(GRID)], THINGS)
    return color, [random_thing(rng, cell, (rng.choice(SHAPES), own)) for cell, own in zip(cells, colors, strict=True)]


def _action(rng: random.Random, right: int) -> dict:
    told = right
    if rng.random() >= AUXILIARY_ACCURACY:
        told = rng.choice([wrong for wrong in range(1, THINGS + 2) if wrong != right])
    return {"source": "auxiliary", "text": LAYOUT.format(answer=told), "logprob": None}


def start_rows(corpus: Corpus, name: str, count: int) -> list[dict]:
    """Lessons for a cold start: right answers in the layout of the actions, few enough to leave most of the task to learn."""
    rows = []
    for row in color_rows(corpus, name, count, external=False):
        texts = (row["prompt"], LAYOUT.format(answer=row["answer"]))
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
        rows.append({"messages": messages, "images": row["images"]})
    return rows


def clip_rows(video_rows: list[dict]) -> list[dict]:
    """`rollout` rows: how many things are left when a clip ends; one of three may have vanished.

    Args:
        video_rows: of the `video_reasoning` format, several a clip.
    """
    events = {row["videos"][0]: row["events"] for row in video_rows}
    return [
        {
            "id": f"video_counting_{number:03}",
            "videos": [path],
            "prompt": "<video>How many things are there?",
            "answer": str(THINGS - sum(event["kind"] == "vanishes" for event in seen)),
            "external": None,
            "hint": None,
            "events": seen,
        }
        for number, (path, seen) in enumerate(events.items())
    ]
