"""Rated region rows of the offline world: every question once with its right answer, once with a wrong one, for `stage: critic`."""

import random
from typing import Any


RATERS = 3


def rated_rows(rng: random.Random, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return two rows a question; a wrong answer is that of another row of the same kind that differs, with its reason as it was.

    Args:
        rng: the only source of chance.
        rows: region rows with `kind`, `answer` and `rationale`.
    """
    made = []
    for row in rows:
        others = sorted({one["answer"] for one in rows if one["kind"] == row["kind"]} - {row["answer"]})
        for name, answer, right in (("right", row["answer"], True), ("wrong", rng.choice(others), False)):
            votes = ["accept" if right else "reject"] * RATERS
            votes[rng.randrange(RATERS)] = rng.choice(["accept", "reject"])  # one rater guesses
            scores = {"label": votes, "qa_score": float(right), "r_score": 1.0}
            made.append({**row, "id": f"{row['id']}_{name}", "answer": answer, **scores})
    rng.shuffle(made)
    return made
