"""What is a box of a picture, and what is said of one that is not."""

import math

import numpy as np
import pytest

from llamafactory_hind.regions import check_box, clamp_box


SIZE = (640, 480)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 640, 480),  # the picture itself
        (0, 0, 1, 1),
        (639, 479, 640, 480),  # the last pixel
        [0.5, 0.25, 639.75, 479.5],
        (0, 479, 640, 480),  # a row of pixels
        np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32),
    ],
)
def test_boxes_on_the_border_and_of_one_pixel_are_boxes(box) -> None:
    assert check_box(box, SIZE) is None
    assert clamp_box(box, SIZE) == tuple(map(float, box))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([1, 2, 3], "got [1, 2, 3], expected four finite numbers [x1, y1, x2, y2]"),
        ([1, 2, 3, 4, 0.9], "expected four finite numbers"),  # VCR's score not taken off
        ("1234", "got '1234', expected four"),
        (None, "got None, expected four"),
        ({1: 0, 2: 0, 3: 0, 4: 0}, "expected four"),
        ([[1, 2], [3, 4]], "expected four"),
        ([1, 2, 3, "4"], "expected four"),
        ([True, 0, 3, 4], "expected four"),
        ([0, 0, math.nan, 4], "nan, 4], expected four finite"),
        ([0, 0, math.inf, 4], "expected four finite"),
        ([5, 0, 5, 4], "expected x1 < x2 and y1 < y2. Write the left top corner first"),
        ([100, 100, 50, 60], "[x, y, width, height] becomes [x, y, x + width, y + height]"),
        ([0, 4, 5, 4], "expected x1 < x2 and y1 < y2"),
        ([0, 0, 641, 4], "got [0, 0, 641, 4], expected 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 480"),
        ([-1, 0, 5, 4], "Check that it is in pixels of the original picture; `regions.clamp_box` cuts"),
        ([0, 470, 5, 481], "y2 <= 480"),
    ],
)
def test_a_problem_says_got_expected_and_what_to_do(box, said: str) -> None:
    assert said in (check_box(box, SIZE) or "")


@pytest.mark.parametrize("size", [None, (640,), (0, 480), (640, -1), (640, math.nan), "64"])
def test_a_size_that_is_none_is_told_too(size) -> None:
    problem = check_box((0, 0, 1, 1), size)
    assert problem is not None
    assert problem.startswith("`image_size`: got ")


def test_what_sticks_out_a_little_is_cut() -> None:
    assert clamp_box((-3, -2, 645, 490), SIZE) == (0, 0, 640, 480)
    assert clamp_box((600, 10, 672, 20), SIZE) == (600, 10, 640, 20)  # 5 % of 640 is 32
    with pytest.raises(ValueError, match="box: got"):
        clamp_box((600, 10, 673, 20), SIZE)
    assert clamp_box((600, 10, 673, 20), SIZE, slack=0.1) == (600, 10, 640, 20)


@pytest.mark.parametrize(
    "box", [(641, 0, 650, 5), (640, 0, 650, 5), (-5, -5, 0, 5), (0, 0, math.nan, 1), (5, 5, 1, 1)]
)
def test_a_box_without_a_part_in_the_picture_is_refused(box) -> None:
    with pytest.raises(ValueError, match="box: got"):
        clamp_box(box, SIZE)


def test_a_long_value_is_shortened() -> None:
    assert len(check_box(list(range(10_000)), SIZE) or "") < 400
