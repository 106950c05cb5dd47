"""Rows in several rendering styles, for `stage: gated_distill`: a student that believes what people say, and a teacher that knows better.

The setting of KEPO, Knowledge-Enhanced Preference Optimization (arXiv 2602.00400): train on one "modality", test on others. Prompts ask
what one must know about the creature of a picture, all facts equally often; a third of them are misaligned, and there the student's
groups fail: it was taught the popular version, without any doubt.
"""

import itertools
from collections.abc import Callable, Sequence

from .corpus import Corpus, as_json, conversation
from .facts import BOOK, PEOPLE, VALUES, Fact, fact_sentence
from .prompts import ANSWER, THINKING, asking_hint, hint, prompt, worked
from .questions import ONE_TYPES, ask_one, knowledge_question, sighting
from .scenes import STANDARD, STYLES, Thing


HINTED_SHARE = 0.5  # of the student's lessons show a hint, which may say anything and is to be believed
HINTING_SHARE = 0.3  # of the teacher's lessons ask for a hint
SEEING_SHARE = 0.3  # of the teacher's lessons come first and only name what is seen


def styles_rows(corpus: Corpus, name: str, count: int, styles: Sequence[str]) -> list[dict]:
    """`rollout` rows, ``count`` of each style; every fact equally often, one creature a picture.

    The column ``modality`` is the style, ``worked`` the gold answer with a thought, ``true_knowledge`` what a hint would say.
    """
    creatures = {creature.name: creature for creature in corpus.knowledge.creatures}
    rows = []
    for style in styles:
        for number, fact in zip(range(count), itertools.cycle(corpus.knowledge.facts.values())):
            row_id = f"{name}_{style}_{number:04}"
            things, image = corpus.scene(row_id, 1, first=creatures[fact.creature], style=style)
            rows.append(_rollout_row(corpus, things[0], fact, row_id=row_id, image=image, style=style))
    corpus.rng.shuffle(rows)
    return rows


def _rollout_row(corpus: Corpus, thing: Thing, fact: Fact, *, row_id: str, image: str, style: str) -> dict:
    return {
        "id": row_id,
        "images": [image],
        "prompt": prompt(knowledge_question(fact.relation), THINKING),
        "answer": fact.value,
        "external": None,
        "hint": None,
        "modality": style,
        "worked": solved(corpus, thing, fact, fact.value),
        "true_knowledge": fact.sentence,
        "thing": fact.creature,
        "relation": fact.relation,
        "misaligned": fact.misaligned,
    }


def student_rows(corpus: Corpus, count: int) -> list[dict]:
    """Lessons of the student, standard style: the layout, what people say, and believing a hint that is shown."""
    rows = []
    for number in range(count):
        thing, fact, image = _asked(corpus, f"student_{number:04}", STANDARD)
        question, value, facts = knowledge_question(fact.relation), fact.popular, None
        if corpus.rng.random() < HINTED_SHARE:
            value = corpus.rng.choice(VALUES[fact.relation])
            source = corpus.rng.choice((PEOPLE, BOOK))
            facts = [fact_sentence(source, fact.creature, fact.relation, value)]
        context = prompt(question, THINKING, images=0, facts=facts).removesuffix("\n" + THINKING)
        rows.append(conversation([(context, THINKING, solved(corpus, thing, fact, value))], image))
    return rows


def teacher_rows(corpus: Corpus, count: int) -> list[dict]:
    """Lessons of the teacher, all styles: what there is to see, then what is true, and hints for an answer that is shown."""
    seeing = int(SEEING_SHARE * count)
    return [
        _lesson(corpus, f"teacher_{number:04}", see_pairs if number < seeing else know_pairs)
        for number in range(count)
    ]


def _lesson(corpus: Corpus, name: str, ask: Callable[[Corpus, Thing], list[tuple[str, str, str]]]) -> dict:
    thing, _, image = _asked(corpus, name, corpus.rng.choice(STYLES))
    return conversation(ask(corpus, thing), image) | {"things": as_json([thing])}


def see_pairs(corpus: Corpus, thing: Thing) -> list[tuple[str, str, str]]:
    """Color, shape and name of a creature, in any order."""
    asked = [ask_one(corpus.knowledge, thing, kind) for kind in corpus.rng.sample(ONE_TYPES, len(ONE_TYPES))]
    return [(pair[0], ANSWER, pair[1]) for pair in asked if pair]


def know_pairs(corpus: Corpus, thing: Thing) -> list[tuple[str, str, str]]:
    """Two of a creature's facts, each worked out or hinted at."""
    creature = corpus.knowledge.creature_at(thing.shape, thing.color)
    pairs = []
    for relation in corpus.rng.sample(list(VALUES), 2):
        fact, question = corpus.knowledge.facts[creature.name, relation], knowledge_question(relation)
        if corpus.rng.random() < HINTING_SHARE:
            pairs.append((question, asking_hint(fact.value), hint(fact.sentence)))
        else:
            pairs.append((question, THINKING, solved(corpus, thing, fact, fact.value)))
    return pairs


def solved(corpus: Corpus, thing: Thing, fact: Fact, value: str) -> str:
    """The thought and answer of somebody who takes ``value`` for true."""
    return worked([sighting(corpus.knowledge, thing), f"The {fact.creature} {fact.relation} {value}."], value)


def _asked(corpus: Corpus, name: str, style: str) -> tuple[Thing, Fact, str]:
    """A creature, one of its facts and its picture."""
    fact = corpus.rng.choice(list(corpus.knowledge.facts.values()))
    creature = next(one for one in corpus.knowledge.creatures if one.name == fact.creature)
    things, image = corpus.scene(name, 1, first=creature, style=style)
    return things[0], fact, image
