"""How varied texts are: distinct n-grams, clusters, length."""

import re
from collections.abc import Sequence


ORDERS = (1, 2, 3)
ALIKE = 0.5  # [ours] share of words in common (Jaccard) from which two texts are one cluster
MOST = 2000  # [ours] texts that are clustered: the first ones


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; a Chinese character is a word."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def distinct_ngrams(texts: Sequence[str]) -> dict[str, float]:
    """Return distinct-1, -2 and -3: different n-grams over all n-grams (Li et al., arXiv 1510.03055); without any, 0."""
    found = {}
    for order in ORDERS:
        grams = [
            tuple(words[start : start + order])
            for words in map(words_of, texts)
            for start in range(len(words) - order + 1)
        ]
        found[f"distinct_{order}"] = len(set(grams)) / len(grams) if grams else 0.0
    return found


def count_clusters(texts: Sequence[str]) -> int:
    """Return the number of clusters: a text joins the first cluster whose first text shares half of the words of both [ours]."""
    leaders: list[frozenset[str]] = []
    for text in texts[:MOST]:
        words = frozenset(words_of(text))
        if not any(len(words & leader) >= ALIKE * len(words | leader) for leader in leaders):
            leaders.append(words)
    return len(leaders)


def describe(texts: Sequence[str]) -> dict[str, float]:
    """Return all numbers of a list of texts."""
    lengths = [len(words_of(text)) for text in texts]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return {"mean_words": mean, **distinct_ngrams(texts), "clusters": count_clusters(texts)}
