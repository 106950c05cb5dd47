"""Clips as the host opens them: a look-alike of PyAV that knows names of clips, and of the container and stream it gives."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from PIL import Image

from ...storage.clip_names import is_clip
from .clips import Clip


class ClipReader:
    """PyAV, but that `open` understands the names of clips.

    Args:
        av: the module.
    """

    def __init__(self, av: Any) -> None:
        """Keep the module."""
        self._av = av

    def __getattr__(self, name: str) -> Any:
        return getattr(self._av, name)

    def open(self, file: Any, *args: Any, **kwargs: Any) -> Any:
        """Open a clip as a `ClipContainer`, anything else as PyAV does."""
        return ClipContainer(Clip(file)) if is_clip(file) else self._av.open(file, *args, **kwargs)


class ClipFrame:
    """A decoded frame."""

    def __init__(self, image: Image.Image) -> None:
        """Keep the picture."""
        self._image = image

    def to_image(self) -> Image.Image:
        """Return the upright picture."""
        return self._image


class ClipStream:
    """What the host reads of a video stream, here of a clip that begins at 0 s."""

    type = "video"
    index = 0
    time_base = Fraction(1)

    def __init__(self, clip: Clip) -> None:
        """Read what the clip is."""
        self.clip = clip
        self.frames = clip.count
        self.duration = clip.seconds  # in units of `time_base`
        self.average_rate = clip.rate
        self.width, self.height = clip.size
        self.wanted: list[int] | None = None

    def sample(self, fps: float, most: int) -> list[int]:
        """Return the positions to show; the others are then not decoded."""
        self.wanted = self.clip.sample(fps, most)
        return self.wanted


class ClipContainer:
    """What the host calls of a container."""

    def __init__(self, clip: Clip) -> None:
        """Hold one stream."""
        self.streams = [ClipStream(clip)]

    def seek(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: decoding starts at the clip's start."""

    def decode(self, stream: ClipStream) -> Iterator[ClipFrame | None]:
        """Yield a frame for each position up to the last one that is shown; None in the place of those that are not."""
        positions = range(stream.frames) if stream.wanted is None else stream.wanted
        images = stream.clip.images(positions)
        shown = set(positions)
        for position in range(max(shown) + 1):
            yield ClipFrame(next(images)) if position in shown else None

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "ClipContainer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
