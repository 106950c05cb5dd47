"""How a run sees media: limits of pictures and videos under the host's names, and whose way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


PIXEL_KEYS = ("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels")


@dataclass(frozen=True)
class MediaView:
    """The keys of a run that decide what is seen of a medium; defaults are the host's.

    Attributes:
        image_max_pixels: a larger picture is made smaller; None leaves it.
        image_min_pixels: a smaller one is made larger.
        video_max_pixels: likewise for frames.
        video_min_pixels: likewise.
        video_fps: frames a second.
        video_maxlen: frames of a video at most.
        media_as_host: as the host alone sees them.
    """

    image_max_pixels: int | None = 768 * 768
    image_min_pixels: int = 32 * 32
    video_max_pixels: int | None = 256 * 256
    video_min_pixels: int = 16 * 16
    video_fps: float = 2.0
    video_maxlen: int = 128
    media_as_host: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, as_host: bool) -> "MediaView":
        """Read the keys that `settings` has, and the defaults of the others."""
        names = [name for name in cls.__dataclass_fields__ if settings.get(name) is not None]
        return cls(**{**{name: settings[name] for name in names}, "media_as_host": as_host})

    def size(self, kind: str, width: int, height: int) -> tuple[int, int]:
        """Return the size to which the host resizes a picture, or a frame of a video.

        Args:
            kind: `images` or `videos`.
            width: in pixels, as is `height`.
            height: as above.

        Raises:
            ValueError: nothing would be left of a side.
        """
        most, least = (
            (self.image_max_pixels, self.image_min_pixels)
            if kind == "images"
            else (self.video_max_pixels, self.video_min_pixels)
        )
        size = limited((width, height), most, least)
        if not all(size):
            raise ValueError(
                f"it has {width} x {height} pixels, and resizing it to at most {most} in all leaves nothing of one side"
            )
        return size


def limited(size: tuple[int, int], most: int | None, least: int) -> tuple[int, int]:
    """Return (width, height) with at most and at least so many pixels, rounded as the host does; a side may become 0."""
    if most is not None and size[0] * size[1] > most:
        size = _scaled(size, most)
    if size[0] * size[1] < least:
        size = _scaled(size, least)
    return size


def _scaled(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    # As the host's `_preprocess_image`, rounding included.
    width, height = size
    if not width * height:
        return size
    factor = (pixels / (width * height)) ** 0.5
    return int(width * factor), int(height * factor)
