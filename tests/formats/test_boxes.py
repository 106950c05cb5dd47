"""Boxes of a row in one shape."""

from typing import Any

import pytest

from llamafactory_hind.formats.boxes import row_boxes


def test_regions_objects_and_gold_are_one_shape() -> None:
    columns = {
        "regions": [{"image": 0, "box": [1, 2, 3, 4], "label": "cat"}, {"image": 1, "box": [5, 6, 7, 8]}],
        "objects": [{"color": "red", "shape": "cube", "box": [0, 0, 9, 9]}],
        "boxes": [[1, 2, 3, 4], [2, 2, 4, 4]],
    }
    found = row_boxes(columns, ["a.png", "b.png"])
    assert [(entry["image"], entry["box"], entry["label"]) for entry in found] == [
        (0, [1, 2, 3, 4], "cat"),
        (1, [5, 6, 7, 8], None),
        (0, [0, 0, 9, 9], "red cube"),
        (0, [2, 2, 4, 4], "gold"),
    ]
    assert {entry["origin"] for entry in found} == {"row"}


def test_pictures_that_are_cut_out_do_not_count() -> None:
    """`regions[].image` counts the pictures of the row; a crop stands between them in the prompt."""
    pictures = ["a.png", 'a.png#region={"crop":[0,0,1,1]}', "b.png"]
    (entry,) = row_boxes({"regions": [{"image": 1, "box": [0, 0, 1, 1]}]}, pictures)
    assert entry["image"] == 2


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], [3, 0, 1, 1], ["a", 0, 1, 1], [0, 0, float("nan"), 1], [True, 0, 2, 2], {"x": 1}, "0123"]
)
def test_what_is_no_box_is_left_out(box: Any) -> None:
    assert row_boxes({"regions": [{"box": box}], "objects": [box], "box": box, "boxes": box}, ["a.png"]) == []


@pytest.mark.parametrize("image", [-1, 1, "0", 0.0, None])
def test_a_picture_that_is_not_there(image: Any) -> None:
    found = row_boxes({"regions": [{"image": image, "box": [0, 0, 1, 1]}]}, ["a.png"])
    assert len(found) == (not image and image != "0")
