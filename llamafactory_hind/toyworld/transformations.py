"""Rows for the stages that train on rewards and on regions: counting, transformations (TRANCE style) and pointed questions."""

import random
from dataclasses import replace

from .facts import COLORS, SHAPES
from .scenes import Thing


PLURALS = {shape: ("crosses" if shape == "cross" else shape + "s") for shape in SHAPES}
AUXILIARY_ACCURACY = 0.7  # how often the auxiliary model of Vision-EKIPL's offline experiment is right


def counting_row(rng: random.Random, things: list[Thing], image: str, row_id: str) -> dict:
    """How many things have a property, with an external action that is right about 70 % of the time."""
    if rng.random() < 0.5:
        color = rng.choice([thing.color for thing in things])
        question, kept = f"How many {color} things are there?", [thing for thing in things if thing.color == color]
    else:
        shape = rng.choice([thing.shape for thing in things])
        question, kept = f"How many {PLURALS[shape]} are there?", [thing for thing in things if thing.shape == shape]
    right = rng.random() < AUXILIARY_ACCURACY
    told = len(kept) if right else rng.choice([n for n in range(len(things) + 2) if n != len(kept)])
    thought = " ".join(f"A {thing.look} in the {thing.place}." for thing in kept)
    return _rollout_row(row_id, [image], question, str(len(kept)), thought, str(told)) | {
        "objects": [thing.to_json() for thing in things]
    }


def transform(rng: random.Random, things: list[Thing]) -> tuple[list[Thing], list[tuple[str, int, str]]]:
    """Change one or two things in color or shape; returns the final things and triples (function, object, value)."""
    final, triples = list(things), []
    for index in sorted(rng.sample(range(len(things)), rng.randint(1, min(2, len(things))))):
        if rng.random() < 0.5:
            value = rng.choice([color for color in COLORS if color != final[index].color])
            final[index] = replace(final[index], color=value)
            triples.append(("change_color", index, value))
        else:
            value = rng.choice([shape for shape in SHAPES if shape != final[index].shape])
            final[index] = replace(final[index], shape=value)
            triples.append(("change_shape", index, value))
    return final, triples


def transformation_row(
    rng: random.Random,
    before: list[Thing],
    after: list[Thing],
    triples: list[tuple[str, int, str]],
    *,
    images: list[str],
    row_id: str,
) -> dict:
    """Which functions turn the first image into the second, as ``change_color(0, red), change_shape(1, bar)``."""
    answer = ", ".join(f"{function}({index}, {value})" for function, index, value in triples)
    told = answer
    if rng.random() >= AUXILIARY_ACCURACY:
        function, index, value = triples[0]
        values = COLORS if function == "change_color" else SHAPES
        told = f"{function}({index}, {rng.choice([one for one in values if one != value])})"
    objects = "\n".join(f"{index}: {thing.look} in the {thing.place}" for index, thing in enumerate(before))
    question = f"Objects of the first image:\n{objects}\nWhat was changed?"
    return _rollout_row(row_id, images, question, answer, "I compare the two images.", told) | {
        "objects": [thing.to_json() for thing in before],
        "objects_after": [thing.to_json() for thing in after],
    }


def _rollout_row(row_id: str, images: list[str], question: str, answer: str, thought: str, told: str) -> dict:
    return {
        "id": row_id,
        "images": images,
        "prompt": "<image>" * len(images) + question,
        "answer": answer,
        "external": [
            {
                "source": "auxiliary",
                "text": f"<think>{thought}</think><answer>{told}</answer>",
                "logprob": None,
            }
        ],
        "hint": None,
    }


def region_row(rng: random.Random, things: list[Thing], image: str, row_id: str) -> dict:
    """A question that points at one of the boxes; boxes are xyxy pixels of the image."""
    index = rng.randrange(len(things))
    thing = things[index]
    kind = rng.choice(("color", "shape"))
    return {
        "id": row_id,
        "images": [image],
        "regions": [{"image": 0, "box": list(one.box), "label": one.look} for one in things],
        "question": f"What {kind} is <region:{index}>?",
        "answer": thing.color if kind == "color" else thing.shape,
        "rationale": f"<region:{index}> is a {thing.look}.",
        "critic": None,
    }
