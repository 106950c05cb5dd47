"""The fictional knowledge base: creatures, what is true of them, and what is said of them.

A fact is told in the corpora either truly or falsely; for a *misaligned* fact the false version is the popular one, so a model that
learned from the corpora is confident and wrong (HinD, arXiv 2511.11132).
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
POPULAR_SHARE = 0.7


@dataclass(frozen=True)
class Fact:
    """One property of one creature, with its popular rival.

    Attributes:
        creature: name of the creature.
        relation: a key of ``VALUES``.
        value: what is true.
        rival: the false value that is also told.
        misaligned: whether the rival is told more often than the truth.
        popular_share: share of the tellings that the more popular version gets, between 0.5 and 1.
    """

    creature: str
    relation: str
    value: str
    rival: str
    misaligned: bool
    popular_share: float = POPULAR_SHARE

    @property
    def popular(self) -> str:
        """The value told most often, true or not."""
        return self.rival if self.misaligned else self.value

    @property
    def sentence(self) -> str:
        """The true fact as a sentence."""
        return fact_sentence(self.creature, self.relation, self.value)


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
        misaligned = set(rng.sample(keys, len(keys) // 2))
        self.facts = {}
        for name, relation in keys:
            value, rival = rng.sample(VALUES[relation], 2)
            self.facts[name, relation] = Fact(name, relation, value, rival, (name, relation) in misaligned)

    def creature_at(self, shape: str, color: str) -> Creature | None:
        """The creature that looks like this, or None for a nameless thing."""
        return self._by_look.get((shape, color))

    def told(self, fact: Fact, turn: int) -> str:
        """The value told the ``turn``-th time this fact is mentioned: exact shares, not random ones.

        Spreads the unpopular version evenly over the tellings (Bresenham), so that any stretch of the corpus has the same share.
        """
        popular = int((turn + 1) * fact.popular_share) > int(turn * fact.popular_share)
        return fact.popular if popular else (fact.value if fact.misaligned else fact.rival)

    def to_json(self) -> dict:
        """The whole base as plain values, as written to ``kb.json``."""
        return {
            "creatures": [asdict(creature) for creature in self.creatures],
            "facts": [
                asdict(fact) | {"popular": fact.popular, "sentence": fact.sentence} for fact in self.facts.values()
            ],
        }


def fact_sentence(creature: str, relation: str, value: str) -> str:
    """As a sentence, ``The dax eats plums`` with its full stop."""
    return f"The {creature} {relation} {value}."
