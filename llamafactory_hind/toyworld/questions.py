"""Questions about one still scene whose answers can be read off it, and the hindsight rows about its creatures."""

import random

from .facts import QUESTIONS, VALUES, Fact, KnowledgeBase
from .scenes import Thing


NEEDS = {
    "eats": "I need to know what the {creature} eats.",
    "lives in": "I need to know where the {creature} lives.",
    "fears": "I need to know what the {creature} fears.",
}
ONE_TYPES = ("color", "shape", "name")  # of a scene with one thing
COUNT = "count"  # of any scene


def ask_one(knowledge: KnowledgeBase, thing: Thing, kind: str) -> tuple[str, str] | None:
    """A question about the only thing of a scene and its answer; None where the thing has no name."""
    if kind == "color":
        return "What color is the thing?", thing.color
    if kind == "shape":
        return "What shape is the thing?", thing.shape
    if kind == "name":
        creature = knowledge.creature_at(thing.shape, thing.color)
        return ("What is the thing called?", creature.name) if creature else None
    raise ValueError(f"question type {kind!r} is unknown; expected one of {ONE_TYPES}")


def ask_count(things: list[Thing]) -> tuple[str, str]:
    """How many things a scene holds."""
    return "How many things are there?", str(len(things))


def knowledge_question(relation: str) -> str:
    """``What does the thing eat?``: one must see what it is, and know the rest."""
    return QUESTIONS[relation].format(thing="the thing")


def sighting(knowledge: KnowledgeBase, thing: Thing) -> str:
    """What one sees, as in ``The red circle is a dax.`` or ``… has no name``."""
    creature = knowledge.creature_at(thing.shape, thing.color)
    return f"The {thing.look} " + (f"is a {creature.name}." if creature else "has no name.")


def reasoning_steps(knowledge: KnowledgeBase, thing: Thing, relation: str) -> list[str]:
    """How one gets to a knowledge question's answer, up to the fact that is needed (the fact itself is not said)."""
    creature = knowledge.creature_at(thing.shape, thing.color)
    return [sighting(knowledge, thing), NEEDS[relation].format(creature=creature.name)]


def references(rng: random.Random, fact: Fact) -> list[str]:
    """Ten reference answers as in OK-VQA: eight true, one at a loss, one stray (never what people say)."""
    stray = rng.choice([value for value in VALUES[fact.relation] if value not in (fact.value, fact.popular)])
    answers = [fact.value] * 8 + ["unknown", stray]
    rng.shuffle(answers)
    return answers


def hindsight_row(
    rng: random.Random, knowledge: KnowledgeBase, thing: Thing, fact: Fact, *, row_id: str, image: str, told: str
) -> dict:
    """One row of the ``hindsight`` format; the answer is true, the knowledge is a sentence that is ``told``."""
    return {
        "id": row_id,
        "images": [image],
        "question": knowledge_question(fact.relation),
        "answer": fact.value,
        "answers": references(rng, fact),
        "choices": None,
        "cot": reasoning_steps(knowledge, thing, fact.relation),
        "knowledge": [told],
        "thing": fact.creature,
        "relation": fact.relation,
        "misaligned": fact.misaligned,
        "asked_in_training": fact.asked,
        "true_knowledge": fact.sentence,
    }
