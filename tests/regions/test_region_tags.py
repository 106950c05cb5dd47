"""Mentions of regions in text, and text as lists of tokens."""

import pytest

from llamafactory_hind.regions import (
    find_mentions,
    mention_problem,
    read_tokens,
    reindex,
    replace_mentions,
    unknown_mentions,
    write_mention,
)


def test_mentions_are_found_and_replaced() -> None:
    text = "Why does <region:0> look at <region:12>'s <region:0>?"
    assert find_mentions(text) == [0, 12, 0]
    assert replace_mentions(text, lambda index: f"[{index}]") == "Why does [0] look at [12]'s [0]?"
    assert replace_mentions(text, write_mention) == text
    assert replace_mentions("<region:1>", lambda index: r"\1") == r"\1"  # nothing in a replacement is special
    assert find_mentions("") == []


@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        ("<region:0> and <region:2>", 3, None),
        ("no mention, but a <b>tag</b> and a <region_fea>", 0, None),
        ("<region:3>, <region:1>, <region:3>", 3, "got <region:3>, expected <region:0> to <region:2>, for the row has 3 regions"),
        ("<region:1>", 1, "expected <region:0>, for the row has one region"),
        ("<region:0>", 0, "expected no mention, for the row has no regions. Correct the number or add the region."),
        ("<region: 0>", 3, "got <region: 0>, expected the form <region:0>"),
        ("<Region:0> <region 1> <regions:0> <region> <region:-1> <region:1.5> </region>", 9, "got <Region:0>, <region 1>, "),
        ("<region:0000000001>", 3, "expected the form"),
    ],
)  # fmt: skip
def test_mention_problem(text: str, count: int, said: str | None) -> None:
    problem = mention_problem(text, count)
    assert problem is None if said is None else said in (problem or "")


def test_unknown_mentions() -> None:
    assert unknown_mentions("<region:9> <region:1> <region:2> <region:9>", 2) == [2, 9]


def test_reindexing_keeps_only_what_is_used() -> None:
    texts = ["<region:7> sees <region:2>", "so does <region:4>, unlike <region:7>"]
    assert reindex(texts) == (["<region:2> sees <region:0>", "so does <region:1>, unlike <region:2>"], [2, 4, 7])
    assert reindex(texts, order="appearance") == (
        ["<region:0> sees <region:1>", "so does <region:2>, unlike <region:0>"],
        [7, 2, 4],
    )
    assert reindex(texts, keep=[3, 2]) == (
        ["<region:3> sees <region:0>", "so does <region:2>, unlike <region:3>"],
        [2, 3, 4, 7],
    )
    assert reindex(texts, keep=[3, 2], order="appearance")[1] == [7, 2, 4, 3]
    assert reindex(["plain"]) == (["plain"], [])


@pytest.mark.parametrize("order", ["stored", "appearance"])
def test_reindexed_mentions_point_at_the_same_regions(order) -> None:
    regions = ["a", "b", "c", "d", "e"]
    texts = ["<region:4> <region:1>", "<region:1> <region:3>"]
    renamed, kept = reindex(texts, order=order)
    chosen = [regions[index] for index in kept]
    for old, new in zip(texts, renamed, strict=True):
        assert [regions[k] for k in find_mentions(old)] == [chosen[k] for k in find_mentions(new)]
    assert reindex(renamed, order=order) == (renamed, list(range(len(kept))))


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["What", "is", [4], "holding", "?"], "What is <region:4> holding?"),
        (["Why", "does", "n't", [0, 2], "smile", "?"], "Why doesn't <region:0> and <region:2> smile?"),
        ([[1], "'s", "dog", ",", "it", "'s", "red", "."], "<region:1>'s dog, it's red."),
        ([[0, 1, 2], "are", "here", "."], "<region:0> and <region:1> and <region:2> are here."),
        ([["0"], "waits"], "<region:0> waits"),  # LSKD's older files
        (["no", "mention", "!"], "no mention !"),  # only , . ? ' n't draw near
        (["n'twas", "n't"], "n'twasn't"),
        ([], ""),
        ("a text as it is ?", "a text as it is ?"),
    ],
)
def test_read_tokens(tokens, text: str) -> None:
    assert read_tokens(tokens) == text


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["a", []], "token 1: got [], expected a text, or a list of the numbers of regions, such as [0, 2]"),
        (["a", 3], "token 1: got 3"),
        ([[0, -1]], "token 0: got [0, -1]"),
        ([[True]], "token 0"),
        ([[1.0]], "token 0"),
        ([["one"]], "token 0"),
        ([[[1]]], "token 0"),
        ([None], "token 0: got None"),
        (None, "got None, expected a text or a list of tokens"),
        ({"a": 1}, "expected a text or a list of tokens"),
    ],
)
def test_tokens_that_are_none_are_told(tokens, said: str) -> None:
    with pytest.raises(ValueError) as error:
        read_tokens(tokens)
    assert said in str(error.value)


def test_tokens_that_look_like_a_mention_are_seen_later() -> None:
    assert mention_problem(read_tokens(["<region:9>"]), 1) is not None
