"""Where a processed row comes from: what names it, and says what becomes of it, should it go bad after the check.

`place` is file and number of the row, its id or digest where that is not known. `side_file` lists the bad rows of its data set; it
is empty where bad rows of that data set are not skipped, and rows of one data set have the same.
"""

from collections.abc import Mapping
from typing import Any


PLACE, SIDE_FILE = "place", "side_file"
STANDS_IN = "stands_in"  # of a row that takes the place of a bad one
WRITTEN = "written"  # of a row that the host lets the model continue: what is written belongs to this very row
MARKS = (PLACE, SIDE_FILE, STANDS_IN, WRITTEN)


def origin_of(example: Mapping[str, Any], *, name: str = "") -> dict[str, str]:
    """Return both columns of an aligned example.

    Args:
        example: aligned.
        name: of the row, where its place is not known.
    """
    # text and never null: `datasets` takes the type of a column from the first rows
    return {PLACE: example.get("_source") or name, SIDE_FILE: example.get("_side_file") or ""}
