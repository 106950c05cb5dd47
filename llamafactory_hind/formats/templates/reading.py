"""Boxes in what a model wrote, as pixels of the original picture: for people who look, not for rewards."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...regions.conventions import get_convention
from ...regions.coordinates import parse_boxes
from ...regions.text_reading import bracketed_boxes
from ..boxes import MODEL, as_box, box_entry
from ..media.drawn import picture_size
from ..media.host_view import sees_as_host
from .conventions import SUFFIX, convention_of


class BoxReader:
    """Reads the boxes of completions.

    Args:
        plugin: of the template.
        processor: of the model.
        template: its name; without a published form of boxes, only rows that name a `convention` or have gold boxes are read.
    """

    def __init__(self, plugin: Any, processor: Any, template: str) -> None:
        """Find the convention."""
        self.plugin, self.processor = plugin, processor
        try:
            self.convention: str | None = convention_of(template.removesuffix(SUFFIX), processor)
        except ValueError:
            self.convention = None

    def read(self, texts: Sequence[str], pictures: Sequence[Any], columns: Mapping[str, Any]) -> list[list[Any]]:
        """Return the boxes of each text as `formats.boxes` has them; of several pictures, those of `box_image` or the first.

        Args:
            texts: what the model wrote for one prompt.
            pictures: of the prompt.
            columns: of the row; its `convention`, `image_size` and `processed_size` go before those of the template, and
                a row with gold boxes and no convention is read as it is written, as `box_iou` does.
        """
        image = columns.get("box_image") or 0
        if not isinstance(image, int) or not 0 <= image < len(pictures):
            return [[] for _ in texts]
        reader = None
        found: list[list[Any]] = []
        for text in texts:
            if not any(sign in text for sign in "[(<{"):
                found.append([])
                continue
            reader = reader or self._reader(pictures, image, columns)
            boxes = [as_box([float(number) for number in box]) for box in reader(text)]
            found.append([box_entry(image, box, None, MODEL) for box in boxes if box is not None])
        return found

    def _reader(self, pictures: Sequence[Any], image: int, columns: Mapping[str, Any]) -> Any:
        convention = columns.get("convention")
        if convention is None and (columns.get("box") or columns.get("boxes")):
            return bracketed_boxes
        convention = convention or self.convention
        if convention is None or get_convention(convention).numbers == "point":
            return lambda text: []
        size = columns.get("image_size") or picture_size(pictures[image], as_host=sees_as_host(self.plugin))
        fed = columns.get("processed_size")
        if fed is None and get_convention(convention).frame == "processed":
            fed = self._fed(pictures, image)
        return lambda text: parse_boxes(text, image_size=size, processed_size=fed, convention=convention)

    def _fed(self, pictures: Sequence[Any], image: int) -> tuple[int, int]:
        grid = self.plugin._get_mm_inputs(list(pictures), [], [], self.processor)["image_grid_thw"]
        _, rows, columns = (int(value) for value in grid[image])
        patch = self.processor.image_processor.patch_size
        return columns * patch, rows * patch
