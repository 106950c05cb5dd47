"""What is asked and said in this world: questions, answers, rationales, and the prompts of `pipeline: localized`.

The prompt files `yaml_configs/toyworld/prompts/lskd_*.jinja` say the same; a test compares them.
"""

from collections.abc import Iterator, Sequence

from .scenes import ACTIONS, COLORS, DOTS, SHAPES, TIMES, Scene


THINGS, TIME, IN_BOX, DYNAMIC, WRITE = (
    "Name the things.",
    "Is it day or night?",
    "What is in the box?",
    "Which dots are there?",
    "Write {count} triples.",
)
ASK = "Ask {count} questions."
LONE = "Which dot has it?"
QUESTION = "What will {thing} do?"


def question(thing: str) -> str:
    """Ask what a thing does; `thing` is `[0]`, `<region:0>` or its look."""
    return QUESTION.format(thing=thing)


def answer(action: str) -> str:
    """Answer that."""
    return f"It will {action}."


def rationale(thing: str, dot: str, time: str) -> str:
    """Give the reason."""
    return f"{thing} has a {dot} dot at {time}."


def concepts(scene: Scene) -> str:
    """Return the looks of a scene, each once, by name."""
    return ", ".join(sorted({thing.look for thing in scene.things}))


def narrative(scene: Scene) -> str:
    """Return what the whole picture tells."""
    return f"It is {scene.time}."


def dots(scene: Scene) -> str:
    """Return the dots of a scene by name; which thing has which, they do not tell."""
    return ", ".join(sorted(thing.dot for thing in scene.things))


def triple(scene: Scene, number: int, mention: str) -> str:
    """Return a question with answer and rationale in the form that `pipeline: localized` reads."""
    thing = scene.things[number]
    parts = (question(mention), answer(scene.action(number)), rationale(mention, thing.dot, scene.time))
    return "Question: {}\nAnswer: {}\nRationale: {}".format(*parts)


def answer_turn(scene: Scene, number: int, mention: str) -> str:
    """Return answer and rationale as `target: answer_rationale` of the `region` format shows them."""
    thing = scene.things[number]
    return f"{answer(scene.action(number))}\nRationale: {rationale(mention, thing.dot, scene.time)}"


def context(
    scene: Scene,
    *,
    concepts_on: bool = True,
    narrative_on: bool = True,
    captions_on: bool = True,
    pairs_on: bool = True,
) -> str:
    """Return the descriptors of a scene as the prompt of triples shows them; a family that is off is not there."""
    lines = [f"Things: {concepts(scene)}"] if concepts_on else []
    lines += [narrative(scene)] if narrative_on else []
    lines += [
        f"[{number}] {thing.caption if captions_on else thing.look}" for number, thing in enumerate(scene.things)
    ]
    lines += [f"{DYNAMIC} {dots(scene)}"] if pairs_on else []
    return "\n".join(lines)


def tokenizer_texts() -> Iterator[str]:
    """Yield texts with every word of the world."""
    frames = ["system\n", "user\n", "assistant\n", "You are a helpful assistant.", "Answer: ", "\nRationale: "]
    frames += [THINGS, TIME, IN_BOX, DYNAMIC, LONE, WRITE.format(count=3), ASK.format(count=1), "Things: "]
    frames += ['{"bbox_2d": [', '], "label": "', '"}', "[0]", "[1]", "[2]", "Choices: (A) (B) (C) (D)"]
    words: Sequence[str] = (*SHAPES, *COLORS, *DOTS, *TIMES, *ACTIONS)
    for _ in range(30):
        yield from frames
        yield from words
        yield ", ".join(DOTS)
        yield ", ".join(f"{color} {shape} with a {dot} dot" for color in COLORS for shape in SHAPES for dot in DOTS)
        for time in TIMES:
            yield f"It is {time}."
            for dot, action in zip(DOTS, ACTIONS, strict=True):
                for thing in ("[0]", "the red circle"):
                    yield f"Question: {question(thing)}\nAnswer: {answer(action)}\nRationale: {rationale(thing, dot, time)}"
