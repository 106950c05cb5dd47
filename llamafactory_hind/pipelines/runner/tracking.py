"""Bars for what a run does before and after its work: how far it is, and how long it will take."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm


Item = TypeVar("Item")
SECONDS_BEFORE = 2.0  # [ours] a step that is done by then shows nothing


def track(items: Iterable[Item], title: str, *, total: int | None = None) -> Iterable[Item]:
    """Return the items; a bar with the time left goes along where they take longer than two seconds.

    Args:
        items: one a row.
        title: of the bar.
        total: number of the items; None where they have a length.
    """
    return tqdm(items, desc=title, total=total, unit="row", delay=SECONDS_BEFORE, leave=False)
