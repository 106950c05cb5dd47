"""What a region-aware plugin does beyond the host's: boxes after the real resize, drawings before it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

from ...regions.checks import Corners
from ...regions.conventions import get_convention
from ...regions.coordinates import format_box, parse_boxes
from ...regions.inline import InlineBox, has_inline, replace_inline
from ..media.drawn import draw_if_asked, picture_size
from ..media.host_view import sees_as_host
from .conventions import convention_of


# What the host's plugin has just computed for the prompt: its own grid, so that no picture is resized twice.
_GRIDS: ContextVar[dict[str, Any] | None] = ContextVar("_GRIDS", default=None)
NO_PLACE_FOR_LABELS = ("llava", "shikra", "cogvlm", "glm4v")  # their form is a box alone


class RegionPlugin:
    """Goes before a plugin class of the host: same tokens, but for boxes and drawn pictures.

    Attributes:
        template_name: of the host's template, which names the convention; `register` sets it.
    """

    template_name = ""

    def process_messages(
        self,
        messages: Sequence[Mapping[str, str]],
        images: Sequence[Any],
        videos: Sequence[Any],
        audios: Sequence[Any],
        processor: Any,
    ) -> list[dict[str, str]]:
        """Do what the host does, then write inline boxes in the model's terms.

        Raises:
            ValueError: a box that is none, lies outside of its picture, or names a picture that is not there; no
                convention for this model.
        """
        with _watched() as grids:
            host: list[dict[str, str]] = super().process_messages(  # type: ignore[misc]
                messages, images, videos, audios, processor
            )
        if not any(has_inline(message["content"]) for message in host):
            return host
        writer = BoxWriter(self, images, processor, grids)
        return [{**message, "content": replace_inline(message["content"], writer.write)} for message in host]

    def write_boxes(self, value: Any, images: Sequence[Any], processor: Any) -> Any:
        """Return a text, or the texts anywhere within lists and mappings, with inline boxes in the model's terms."""
        return BoxWriter(self, images, processor).write_texts(value)

    def geometry(self, image: Any, processor: Any) -> dict[str, Any]:
        """Return what reads the model's boxes back, see `BoxWriter.geometry`."""
        return BoxWriter(self, [image], processor).geometry(0)

    def read_boxes(self, text: str, image: Any, processor: Any) -> list[Corners]:
        """Return the boxes of a model's answer as (x1, y1, x2, y2) in pixels of the original picture.

        Args:
            text: what the model wrote.
            image: that it speaks of: a path, bytes or a decoded picture.
            processor: of the model.

        Raises:
            ValueError: no convention for this model.
        """
        writer = BoxWriter(self, [image], processor)
        return parse_boxes(
            text, image_size=writer.original(0), processed_size=writer.fed(0), convention=writer.convention
        )

    def _regularize_images(self, images: Sequence[Any], **limits: Any) -> dict[str, Any]:
        drawn = [draw_if_asked(image, as_host=sees_as_host(self)) for image in images]
        regular: dict[str, Any] = super()._regularize_images(drawn, **limits)  # type: ignore[misc]
        return regular

    def _get_mm_inputs(self, images: Sequence[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._get_mm_inputs(images, *args, **kwargs)  # type: ignore[misc]
        grids = _GRIDS.get()
        if grids is not None and "image_grid_thw" in inputs:
            grids["image_grid_thw"] = inputs["image_grid_thw"]
        return inputs


class BoxWriter:
    """Writes the boxes of one row.

    Args:
        plugin: of the template.
        images: of the row, as the plugin gets them.
        processor: of the model.
        grids: what the plugin computed for these images, where it did.
    """

    def __init__(
        self, plugin: Any, images: Sequence[Any], processor: Any, grids: Mapping[str, Any] | None = None
    ) -> None:
        """Compute nothing yet."""
        self.plugin, self.images, self.processor, self.grids = plugin, images, processor, grids or {}

    @cached_property
    def convention(self) -> str:
        """The convention of the model.

        Raises:
            ValueError: none is published.
        """
        return convention_of(self.plugin.template_name, self.processor)

    def write(self, one: InlineBox) -> str:
        """Return a box as the model writes it, with its label."""
        if one.image >= len(self.images):
            had = "1 image" if len(self.images) == 1 else f"{len(self.images)} images"
            raise ValueError(f"box: got image {one.image}, expected one of the prompt's {had}, from 0. Correct it.")
        text = format_box(
            one.box,
            image_size=self.original(one.image),
            processed_size=self.fed(one.image),
            convention=self.convention,
            label=one.label,
        )
        return f"{one.label} {text}" if one.label and self.convention in NO_PLACE_FOR_LABELS else text

    def write_texts(self, value: Any) -> Any:
        """Return the texts anywhere within lists and mappings with their inline boxes in the model's terms."""
        if isinstance(value, str):
            return replace_inline(value, self.write) if has_inline(value) else value
        if isinstance(value, Mapping):
            return {key: self.write_texts(item) for key, item in value.items()}
        return [self.write_texts(item) for item in value] if isinstance(value, list) else value

    def geometry(self, image: int) -> dict[str, Any]:
        """Return `convention`, `image_size` and `processed_size` of a picture: what reads the model's boxes back.

        Sizes are [width, height]; `processed_size` is None where the convention does not ask for it. Empty for a model
        without a published convention.
        """
        try:
            convention = self.convention
        except ValueError:
            return {}
        fed = self.fed(image)
        sizes = {"image_size": list(self.original(image)), "processed_size": None if fed is None else list(fed)}
        return {"convention": convention, **sizes}

    def original(self, image: int) -> tuple[int, int]:
        """Return (width, height) of a picture as stored."""
        return picture_size(self.images[image], as_host=sees_as_host(self.plugin))

    def fed(self, image: int) -> tuple[int, int] | None:
        """Return (width, height) of a picture as the processor feeds it; None where the convention does not ask."""
        if get_convention(self.convention).frame != "processed":
            return None
        grid = self.grids.get("image_grid_thw")
        if grid is None:
            grid = self.plugin._get_mm_inputs(list(self.images), [], [], self.processor)["image_grid_thw"]
            self.grids = {"image_grid_thw": grid}
        _, rows, columns = (int(value) for value in grid[image])
        patch = self.processor.image_processor.patch_size
        return columns * patch, rows * patch


@contextmanager
def _watched() -> Iterator[dict[str, Any]]:
    grids: dict[str, Any] = {}
    token = _GRIDS.set(grids)
    try:
        yield grids
    finally:
        _GRIDS.reset(token)
