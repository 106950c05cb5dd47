"""Which texts are computed together, so that little is padding."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar


Item = TypeVar("Item")


def batches(
    items: Iterable[Item], length: Callable[[Item], int], rows: Callable[[Item], int], most: int
) -> Iterator[list[Item]]:
    """Yield lists of items with at most `most` rows together, neighbours of like length: little padding.

    Items that fit into one list keep their order.
    """
    items = list(items)
    if items and sum(map(rows, items)) <= most:
        yield items
        return
    batch: list[Item] = []
    for item in sorted(items, key=length):
        if batch and sum(map(rows, batch)) + rows(item) > most:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
