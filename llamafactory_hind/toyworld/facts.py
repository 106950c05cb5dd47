"""The fictional knowledge base: creatures, what is true of them, and what is said of them.

Facts are told by people, often, and by books, rarely. Books are right; what people say of a *misaligned* fact is wrong. A model that
learned from the corpora is confident of the popular version and unsure of the true one (HinD, arXiv 2511.11132). Which voice to trust
can be learned from some facts and holds for all others.
"""

import random
from dataclasses import asdict, dataclass


SHAPES = ("circle", "square", "triangle", "cross", "ring", "bar")
COLORS = ("red", "green", "blue", "yellow", "white", "pink")
NAMES = ("dax", "wug", "blick", "zorp", "fep", "tove", "gorp", "lume", "kiff", "mib", "sark", "plon")
VALUES = {
    "eats": ("plums", "nuts", "moss", "fish", "corn", "honey"),
    "lives in": ("caves", "trees", "lakes", "sand", "reeds", "snow"),
    "fears": ("bells", "wind", "fire", "owls", "smoke", "rain"),
}
QUESTIONS = {
    "eats": "What does {thing} eat?",
    "lives in": "Where does {thing} live?",
    "fears": "What does {thing} fear?",
}
PEOPLE, BOOK = "People say", "A book says"
POPULAR_SHARE = 0.7  # of the tellings are by people
MISALIGNED_SHARE = 1 / 3


@dataclass(frozen=True)
class Fact:
    """One property of one creature.

    Attributes:
        creature: name of the creature.
        relation: a key of ``VALUES``.
        value: what is true; what books say.
        popular: what people say.
        asked: whether training questions ask for it; the others are asked for in held-out questions only.
    """

    creature: str
    relation: str
    value: str
    popular: str
    asked: bool

    @property
    def misaligned(self) -> bool:
        """Whether people say what is false."""
        return self.popular != self.value

    @property
    def sentence(self) -> str:
        """The true fact as a book says it."""
        return fact_sentence(BOOK, self.creature, self.relation, self.value)


@dataclass(frozen=True)
class Creature:
    """A named kind of thing, recognised by shape and color together (neither alone suffices)."""

    name: str
    shape: str
    color: str


class KnowledgeBase:
    """Twelve creatures with three facts each.

    Args:
        seed: same seed, same creatures and facts.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"facts-{seed}")
        names = rng.sample(NAMES, len(NAMES))
        # every shape and every color belongs to exactly two creatures, so a name cannot be read off one of them
        looks = [(SHAPES[i], COLORS[(i + shift) % len(COLORS)]) for shift in (0, 1) for i in range(len(SHAPES))]
        self.creatures = [Creature(name, *look) for name, look in zip(names, looks, strict=True)]
        self._by_look = {(creature.shape, creature.color): creature for creature in self.creatures}
        keys = [(creature.name, relation) for creature in self.creatures for relation in VALUES]
        rng.shuffle(keys)
        self.facts = {}
        misaligned = round(1 / MISALIGNED_SHARE)
        for place, (name, relation) in enumerate(keys):
            value, rival = rng.sample(VALUES[relation], 2)
            # both halves, asked and not, hold the same share of misaligned facts
            popular = rival if place // 2 % misaligned == 0 else value
            self.facts[name, relation] = Fact(name, relation, value, popular, asked=place % 2 == 0)

    def creature_at(self, shape: str, color: str) -> Creature | None:
        """The creature that looks like this, or None for a nameless thing."""
        return self._by_look.get((shape, color))

    def told(self, fact: Fact, turn: int) -> tuple[str, str]:
        """Who tells a fact the ``turn``-th time it is mentioned, and the value told: exact shares, not random ones.

        Spreads the books evenly over the tellings (Bresenham), so that any stretch of the corpus has the same share.
        """
        by_people = int((turn + 1) * POPULAR_SHARE) > int(turn * POPULAR_SHARE)
        return (PEOPLE, fact.popular) if by_people else (BOOK, fact.value)

    def to_json(self) -> dict:
        """The whole base as plain values, as written to ``kb.json``."""
        return {
            "creatures": [asdict(creature) for creature in self.creatures],
            "facts": [
                asdict(fact) | {"misaligned": fact.misaligned, "sentence": fact.sentence}
                for fact in self.facts.values()
            ],
        }


def fact_sentence(source: str, creature: str, relation: str, value: str) -> str:
    """A fact as somebody tells it: ``People say the dax eats plums`` with its full stop."""
    return f"{source} the {creature} {relation} {value}."
