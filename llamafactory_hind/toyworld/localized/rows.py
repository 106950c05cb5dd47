"""`region` rows of this world: pictures to describe, rated triples for a critic, held-out questions in the form of VCR."""

import random
from pathlib import Path
from typing import Any

from .scenes import ACTIONS, DOTS, TIMES, Scene, action_of, random_scene
from .texts import answer, question, rationale


RATERS = 3
CHOICES = 4


def save_scene(rng: random.Random, out: Path, name: str, number: int) -> tuple[Scene, dict[str, Any]]:
    """Draw and save a scene; return it with `id`, `images` and `regions`."""
    scene = random_scene(rng)
    path = f"images/{name}_{number:05}.png"
    scene.draw().save(out / path)
    regions = [{"image": 0, "box": thing.box, "label": thing.look} for thing in scene.things]
    return scene, {"id": f"{name}-{number:05}", "images": [path], "regions": regions}


def picture_rows(rng: random.Random, out: Path, name: str, count: int) -> list[dict[str, Any]]:
    """Pictures with regions and without questions, for `pipeline: localized`; the column `truth` is for measuring alone."""
    made = [save_scene(rng, out, name, number) for number in range(count)]
    return [
        row | {"truth": {"time": scene.time, "dots": [thing.dot for thing in scene.things]}} for scene, row in made
    ]


def rated_rows(rng: random.Random, out: Path, name: str, count: int) -> list[dict[str, Any]]:
    """Triples with the votes of three raters, of whom one guesses; half of them are right.

    A wrong triple has the answer and the reason that another dot or the other time of day would give, as a
    describer's mistake would.
    """
    made = []
    for number in range(count):
        scene, row = save_scene(rng, out, name, number)
        index, right = rng.randrange(len(scene.things)), number % 2 == 0
        dot, time = scene.things[index].dot, scene.time
        if not right:
            others = [(d, t) for d in DOTS for t in TIMES if action_of(d, t) != action_of(dot, time)]
            dot, time = rng.choice(others)
        votes = ["accept" if right else "reject"] * RATERS
        votes[rng.randrange(RATERS)] = rng.choice(["accept", "reject"])
        mention = f"<region:{index}>"
        texts = {"question": question(mention), "answer": answer(action_of(dot, time))}
        scores = {"label": votes, "qa_score": float(right), "r_score": float(right)}
        made.append({**row, **texts, "rationale": rationale(mention, dot, time), **scores})
    return made


def test_rows(rng: random.Random, out: Path, name: str, count: int) -> list[dict[str, Any]]:
    """Questions about one of the two things that look alike: four answers, and four rationales of which one names its dot."""
    made = []
    for number in range(count):
        scene, row = save_scene(rng, out, name, number)
        index = rng.choice(scene.alike)
        mention = f"<region:{index}>"
        actions, dots = rng.sample(ACTIONS, CHOICES), rng.sample(list(DOTS), CHOICES)
        labels = {
            "answer_label": actions.index(scene.action(index)),
            "rationale_label": dots.index(scene.things[index].dot),
        }
        made.append(
            {
                **row,
                "question": question(mention),
                "choices": [answer(action) for action in actions],
                "answer": answer(scene.action(index)),
                "rationale_choices": [rationale(mention, dot, scene.time) for dot in dots],
                "rationale": rationale(mention, scene.things[index].dot, scene.time),
                **labels,
            }
        )
    return made
