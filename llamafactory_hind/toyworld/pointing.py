"""`region` rows of scenes with two things that look alike: which one is meant, only a region can say (LSKD, arXiv 2312.04837)."""

from .corpus import Corpus
from .facts import COLORS, SHAPES
from .scenes import GRID, PLACES, Thing, draw, random_thing


THINGS = 3  # the first two look alike
KINDS = ("where", "which")


def pointing_rows(corpus: Corpus, name: str, count: int) -> list[dict]:
    """Rows that ask where a region is (an answer in words), and which region is at a place (an answer that points).

    Args:
        corpus: where pictures go, and the random stream.
        name: of the file; row ids begin with it.
        count: of rows, both kinds equally often.
    """
    rows = []
    for number in range(count):
        row_id, things = f"{name}_{number:04}", _scene(corpus)
        image = f"images/{row_id}.png"
        draw(things).save(corpus.root / image)
        meant = corpus.rng.randrange(2)  # one of the two that look alike
        corpus.rng.shuffle(order := list(range(THINGS)))
        rows.append(_row(row_id, image, [things[at] for at in order], order.index(meant), KINDS[number % 2]))
    corpus.rng.shuffle(rows)
    return rows


def _scene(corpus: Corpus) -> list[Thing]:
    rng = corpus.rng
    cells = rng.sample([(row, column) for row in range(GRID) for column in range(GRID)], THINGS)
    looks = rng.sample([(shape, color) for shape in SHAPES for color in COLORS], 2)
    return [random_thing(rng, cell, look) for cell, look in zip(cells, (looks[0], *looks), strict=True)]


def _row(row_id: str, image: str, things: list[Thing], index: int, kind: str) -> dict:
    thing, mention = things[index], f"<region:{index}>"
    asked = {
        "where": (f"Where is {mention}?", PLACES[thing.row][thing.column]),
        "which": (f"Which is the {thing.place} thing?", mention),
    }
    question, answer = asked[kind]
    return {
        "id": row_id,
        "images": [image],
        "regions": [{"image": 0, "box": list(one.box), "label": one.look} for one in things],
        "question": question,
        "answer": answer,
        "rationale": f"{mention} is a {thing.look}.",
        "kind": kind,
    }
