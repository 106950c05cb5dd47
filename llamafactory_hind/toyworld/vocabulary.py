"""The texts the tokenizer is trained on: every word of the world, in sentence position and alone, whatever the seed."""

from collections.abc import Iterator

from .facts import BOOK, COLORS, NAMES, PEOPLE, QUESTIONS, SHAPES, VALUES
from .prompts import ANSWER, KNOWLEDGE, REASONING, hindsight, written_hindsight
from .scenes import PLACES
from .transformations import PLURALS


SYSTEM = "You are a helpful assistant."  # of the host's qwen2_vl template


def tokenizer_texts() -> Iterator[str]:
    """Yield texts; words that may begin an answer also stand alone, so thin they become one token there too."""
    values = [value for group in VALUES.values() for value in group]
    places = [place for row in PLACES for place in row]
    words = [*NAMES, *values, *COLORS, *SHAPES, *PLURALS.values(), "change_color", "change_shape", "unknown"]
    frames = [
        SYSTEM,
        "system\n",
        "user\n",
        "assistant\n",
        ANSWER,
        KNOWLEDGE,
        REASONING,
        "has no name. I need to know what where",
        "How many things are there?",
        "What color is the thing called? What shape is",
        "Where is there a yes no",
        "Reasoning: ",
        f"Knowledge: {PEOPLE} the",
        f"Knowledge: {BOOK} the",
        hindsight("").replace("  ", " "),
        written_hindsight(["The", "I need"], [f"{PEOPLE} the", f"{BOOK} the"], ""),
        "moves turns vanishes slides until first before after stop in its way Which changes Why does",
        "think answer So the answer is compare the two images. Objects of the first image was changed?",
        *(question.format(thing="the") for question in QUESTIONS.values()),
        *(f"{source} the {name} {relation}" for source in (PEOPLE, BOOK) for name in NAMES[:1] for relation in VALUES),
    ]
    for _ in range(20):
        yield from frames
        yield from (f"is a {word} {word}." for word in words)
        yield from words
        yield from places
        yield from (f"the {place} thing" for place in places)
        yield "yes"
        yield "no"
