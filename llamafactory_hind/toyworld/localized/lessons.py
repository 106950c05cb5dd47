"""Lessons: a base learns what pictures show, without pointing; a teacher learns to describe them and to write triples.

Only the teacher's texts say what things do. Its pictures with a box are drawn as `pipeline: localized` draws them. It also answers
questions about a box directly: the critic begins with the teacher, and must see whether an answer suits a picture.
"""

import random
from pathlib import Path
from typing import Any

from ...regions import draw_boxes
from .scenes import random_scene
from .texts import (
    ASK,
    DYNAMIC,
    IN_BOX,
    LONE,
    THINGS,
    TIME,
    WRITE,
    answer_turn,
    concepts,
    context,
    dots,
    narrative,
    question,
    triple,
)


FAMILIES = ("concepts_on", "narrative_on", "captions_on", "pairs_on")
HIDDEN = 0.3  # of the lessons in triples lack one family
TEACHER_KINDS = (
    "things",
    "box",
    "box",
    "box",
    "time",
    "dots",
    "ask",
    "triples",
    "triples",
    "triples",
    "direct",
    "direct",
)


def base_rows(rng: random.Random, out: Path, name: str, count: int) -> list[dict[str, Any]]:
    """Conversations about a picture: its things, its time of day, its dots, or the dot of a lone thing."""
    return [_base_row(rng, out, f"{name}_{number:05}") for number in range(count)]


def _base_row(rng: random.Random, out: Path, name: str) -> dict[str, Any]:
    lone = rng.random() < 0.5
    scene = random_scene(rng, 1 if lone else 3)
    scene.draw().save(out / f"images/{name}.png")
    turns = [(THINGS, concepts(scene)), (TIME, narrative(scene))]
    turns.append((LONE, f"{scene.things[0].dot}") if lone else (DYNAMIC, dots(scene)))
    rng.shuffle(turns)
    return _conversation(turns, f"images/{name}.png")


def teacher_rows(rng: random.Random, out: Path, name: str, count: int) -> list[dict[str, Any]]:
    """One turn a row: a family of descriptors, or triples from descriptors without a picture."""
    return [_teacher_row(rng, out, f"{name}_{number:05}") for number in range(count)]


def _teacher_row(rng: random.Random, out: Path, name: str) -> dict[str, Any]:
    scene, kind = random_scene(rng), rng.choice(TEACHER_KINDS)
    if kind in ("ask", "triples"):
        hidden = rng.choice(FAMILIES) if rng.random() < HIDDEN else None
        told = {family: family != hidden for family in FAMILIES}
        if kind == "ask":
            return _conversation(
                [(f"{context(scene, **told | {'pairs_on': False})}\n{ASK.format(count=1)}", DYNAMIC)], None
            )
        count = len(scene.things)
        written = "\n".join(triple(scene, number, f"[{number}]") for number in range(count))
        return _conversation([(f"{context(scene, **told)}\n{WRITE.format(count=count)}", written)], None)
    image, number = scene.draw(), rng.randrange(len(scene.things))
    if kind in ("box", "direct"):  # a lone box has the color of its number; `region` rows number a lone mention 0
        image = draw_boxes(image, [scene.things[number].box], indices=[number if kind == "box" else 0])
    image.save(out / f"images/{name}.png")
    turn = {
        "things": (THINGS, concepts(scene)),
        "time": (TIME, narrative(scene)),
        "dots": (DYNAMIC, dots(scene)),
        "box": (IN_BOX, scene.things[number].caption),
        "direct": (question("[0]"), answer_turn(scene, number, "[0]")),
    }[kind]
    return _conversation([turn], f"images/{name}.png")


def _conversation(turns: list[tuple[str, str]], image: str | None) -> dict[str, Any]:
    messages = []
    for number, (asked, told) in enumerate(turns):
        media = "<image>" if image and number == 0 else ""
        messages += [{"role": "user", "content": f"{media}{asked}"}, {"role": "assistant", "content": told}]
    return {"messages": messages, "images": [image] if image else []}
