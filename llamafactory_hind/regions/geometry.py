"""Boxes as (x1, y1, x2, y2), left top and right bottom corner, in any one unit."""

from collections.abc import Sequence


Box = Sequence[float]


def box_area(box: Box) -> float:
    """Return the area; 0 for a box whose corners are in the wrong order."""
    left, top, right, bottom = box
    return max(right - left, 0.0) * max(bottom - top, 0.0)


def box_iou(first: Box, second: Box) -> float:
    """Return the area that two boxes share, divided by the area that they cover together: 0..1.

    Coordinates are continuous: a box from 0 to 10 is 10 wide. Boxes without area share nothing, and give 0.
    """
    shared = box_area(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )
    covered = box_area(first) + box_area(second) - shared
    return shared / covered if covered > 0 else 0.0
