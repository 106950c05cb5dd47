"""Which rows a proof looks at: by hand, and the same from a table and from plain rows."""

from typing import Any

import pytest
from datasets import Dataset

from llamafactory_hind.trainers.proof_rows import representative_rows


# media, tokens: text of 5, 9 and 2; one picture and 30 tokens, three pictures and 12; a clip; a clip with two pictures
ROWS = [
    ([], [], 5),
    ([], [], 9),
    (["a"], [], 30),
    ([], [], 2),
    (["a", "b", "c"], [], 12),
    ([], ["v"], 7),
    (["a", "b"], ["v"], 8),
    ([], [], 9),
]


def rows() -> list[dict[str, Any]]:
    return [
        {"images": images, "videos": videos, "audios": [], "prompt_input_ids": list(range(tokens - 1)), "more": [0]}
        for images, videos, tokens in ROWS
    ]


@pytest.mark.parametrize("make", [lambda: rows(), lambda: Dataset.from_list(rows())], ids=["rows", "table"])
def test_every_kind_the_most_media_the_longest_and_the_shortest(make: Any) -> None:
    """1: longest text (the first of two); 2: longest with pictures; 3: shortest; 4: most pictures; 5: clip; 6: both."""
    assert representative_rows(make(), ["prompt_input_ids", "more"]) == [1, 2, 3, 4, 5, 6]


def test_a_selection_of_a_table_is_read_as_it_is() -> None:
    assert representative_rows(Dataset.from_list(rows()).select([7, 3, 0]), ["prompt_input_ids"]) == [0, 1]
    assert representative_rows([], ["prompt_input_ids"]) == []
