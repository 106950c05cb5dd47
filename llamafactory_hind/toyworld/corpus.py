"""The first training corpus of the base: seeing, telling facts, and reading a fact from the prompt.

Every row is a sharegpt conversation about one image (several short turns) or about none.
"""

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from .facts import BOOK, PEOPLE, QUESTIONS, VALUES, Creature, Fact, KnowledgeBase, fact_sentence
from .prompts import ANSWER, KNOWLEDGE, REASONING, hindsight, prompt, written_hindsight
from .questions import COUNT, ONE_TYPES, ask_count, ask_one, knowledge_question, reasoning_steps
from .scenes import STANDARD, Thing, draw, random_scene


KNOW_MIX = ("read", "read", "read", "tell", "tell", "know", "reason", "hindsight", "hindsight", "hindsight")


@dataclass
class Corpus:
    """Writes images under ``root`` and rows into memory, all from one random stream.

    Attributes:
        root: the world's directory.
        knowledge: the knowledge base.
        rng: the only source of chance.
    """

    root: Path
    knowledge: KnowledgeBase
    rng: random.Random
    _tellings: dict = field(default_factory=lambda: defaultdict(itertools.count))

    def scene(
        self,
        name: str,
        count: int,
        *,
        creature_share: float = 0.7,
        first: Creature | None = None,
        style: str = STANDARD,
    ) -> tuple[list[Thing], str]:
        """Draw a scene of ``count`` things and save it; returns the things and the image's path relative to the root."""
        things = random_scene(self.rng, self.knowledge, count, creature_share=creature_share, first=first)
        path = f"images/{name}.png"
        draw(things, style).save(self.root / path)
        return things, path

    def told(self, fact: Fact) -> tuple[str, str]:
        """Who tells the fact this time, and the value told, with the exact share of the popular version."""
        return self.knowledge.told(fact, next(self._tellings[fact.creature, fact.relation]))

    def see_row(self, name: str, turns: int) -> dict:
        """Short questions about the only thing of a scene; with several turns a name may help with a look, so tests ask one."""
        things, image = self.scene(name, 1)
        asked = [(kind, ask_one(self.knowledge, things[0], kind)) for kind in ONE_TYPES]
        asked = [(kind, pair) for kind, pair in asked if pair]
        asked = self.rng.sample(asked, min(turns, len(asked)))
        row = conversation([(question, ANSWER, answer) for _, (question, answer) in asked], image)
        return row | {"types": [kind for kind, _ in asked], "things": as_json(things)}

    def count_row(self, name: str) -> dict:
        """How many things there are, one to four."""
        things, image = self.scene(name, self.rng.randint(1, 4))
        question, answer = ask_count(things)
        return conversation([(question, ANSWER, answer)], image) | {"types": [COUNT], "things": as_json(things)}

    def know_row(self, name: str, turns: int, kinds: tuple[str, ...] = KNOW_MIX) -> dict:
        """Questions about one creature: believed answers, facts told, facts read from the prompt, reasoning, hindsight."""
        things, image = self.scene(name, 1, creature_share=1.0)
        creature = self.knowledge.creature_at(things[0].shape, things[0].color).name
        pairs, types = [], []
        for relation in self.rng.sample(list(VALUES), turns):  # one turn a relation: no answer gives another away
            types.append(self.rng.choice(kinds))
            pairs.append(self._know_pair(things[0], self.knowledge.facts[creature, relation], types[-1]))
        return conversation(pairs, image) | {"types": types, "things": as_json(things)}

    def _know_pair(self, thing: Thing, fact: Fact, kind: str) -> tuple[str, str, str]:
        question = knowledge_question(fact.relation)
        if kind == "know":
            return question, ANSWER, self.told(fact)[1]
        if kind == "tell":
            return question, KNOWLEDGE, self.telling(fact)
        steps = reasoning_steps(self.knowledge, thing, fact.relation)
        if kind == "reason":
            return question, REASONING, "\n".join(steps)
        if kind == "hindsight":
            value, knowledge = self._looking_back(fact)
            return question, hindsight(value), written_hindsight(steps, [knowledge], value)
        # read: any value may be in the prompt, so that the answer must be taken from there and nowhere else
        value = self.rng.choice(VALUES[fact.relation])
        cot = steps if self.rng.random() < 0.25 else None
        facts = [fact_sentence(self.rng.choice((PEOPLE, BOOK)), fact.creature, fact.relation, value)]
        context = prompt(question, ANSWER, images=0, cot=cot, facts=facts).removesuffix("\n" + ANSWER)
        return context, ANSWER, value

    def _looking_back(self, fact: Fact) -> tuple[str, str]:
        """An answer to be shown, either of those told, and the sentence that leads to it: the base knows no more than its corpus."""
        source, value = self.told(fact)
        if fact.misaligned:
            source, value = self.rng.choice(((PEOPLE, fact.popular), (BOOK, fact.value)))
        return value, fact_sentence(source, fact.creature, fact.relation, value)

    def telling(self, fact: Fact) -> str:
        """The fact as it is told this time."""
        source, value = self.told(fact)
        return fact_sentence(source, fact.creature, fact.relation, value)

    def text_row(self, turns: int) -> dict:
        """Facts asked by name and facts read from the prompt, without an image."""
        pairs = []
        for fact in self.rng.sample(list(self.knowledge.facts.values()), turns):
            question = QUESTIONS[fact.relation].format(thing=f"the {fact.creature}")
            if self.rng.random() < 0.3:
                pairs.append((question, KNOWLEDGE, self.telling(fact)))
            else:
                value = self.rng.choice(VALUES[fact.relation])
                source = self.rng.choice((PEOPLE, BOOK))
                knowledge = fact_sentence(source, fact.creature, fact.relation, value)
                context = prompt(question, ANSWER, images=0, facts=[knowledge]).removesuffix("\n" + ANSWER)
                pairs.append((context, ANSWER, value))
        return conversation(pairs, None) | {"types": ["text"] * turns, "things": []}


def conversation(pairs: list[tuple[str, str, str]], image: str | None) -> dict:
    """A sharegpt row of (question, instruction, answer) turns; the image stands before the first question."""
    messages = []
    for index, (question, instruction, answer) in enumerate(pairs):
        text = prompt(question, instruction, images=1 if image and index == 0 else 0)
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": [image] if image else []}


def as_json(things: list[Thing]) -> list[dict]:
    """Plain values of all things, boxes included."""
    return [thing.to_json() for thing in things]
