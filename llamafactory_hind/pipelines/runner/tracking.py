"""Bars for what a run does before and after its work: how far it is, and how long it will take."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm


Item = TypeVar("Item")
SECONDS_BEFORE = 2.0  # [ours] a step that is done by then shows nothing


def track(items: Iterable[Item], title: str) -> Iterator[Item]:
    """Return the items; a bar with the time left goes along where they take longer than two seconds.

    Args:
        items: one a row; the time left is known where they have a length.
        title: of the bar.
    """
    yield from tqdm(items, desc=title, unit="row", delay=SECONDS_BEFORE, leave=False)
