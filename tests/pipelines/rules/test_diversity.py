"""Numbers of variety by hand."""

from llamafactory_hind.pipelines.rules.diversity import count_clusters, describe, distinct_ngrams, words_of


def test_distinct_by_hand() -> None:
    """`a b a` and `a b`: 2 of 5 words, 2 of 3 pairs (ab, ba, ab), 1 of 1 triple."""
    assert distinct_ngrams(["a b a", "A b"]) == {"distinct_1": 2 / 5, "distinct_2": 2 / 3, "distinct_3": 1.0}
    assert distinct_ngrams([]) == {"distinct_1": 0.0, "distinct_2": 0.0, "distinct_3": 0.0}


def test_clusters_by_hand() -> None:
    """`who is it` and `who is he` share 2 of 4 words: one cluster; `where are they` shares none."""
    assert count_clusters(["who is it", "who is he", "where are they"]) == 2


def test_a_chinese_character_is_a_word() -> None:
    assert words_of("蛋糕 cake, 没了") == ["蛋", "糕", "cake", "没", "了"]
    assert describe(["a b", "c d e f"])["mean_words"] == 3.0
