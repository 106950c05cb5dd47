"""Media as data URLs, which every server takes: pictures as JPEG or PNG, videos as frames.

Files that a server can read stay byte for byte; the others are turned upright, flattened on white, made smaller.
"""

import asyncio
import base64
import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

from PIL import Image

from ...formats.media.clips import Clip
from ...formats.media.drawn import draw_if_asked
from ...formats.media.frames import read_frames, read_frames_as_host
from ...formats.media.pictures import (
    flatten,
    is_see_through,
    open_picture,
    orientation,
    see_picture,
    thin_out,
    upright,
)
from ...formats.media.view import limited
from ...storage.clip_names import is_clip


CACHE_CHARACTERS = 128 << 20  # [ours] about a thousand pictures of a megapixel
JPEG_QUALITY = 92  # [ours]
LOSSY = {"JPEG", "MPO", "WEBP"}
PNG_DEPTH_BYTE = 24


class DataUrls:
    """Turns media into data URLs, in threads, and remembers those of files.

    Args:
        image_max_pixels: larger pictures are made smaller, as the host does; None leaves them.
        image_min_pixels: smaller pictures are made larger, as the host does; None leaves them.
        video_max_pixels: the same for frames of videos; None is `image_max_pixels`, because a server gets pictures.
        video_min_pixels: the same for frames of videos; None leaves them.
        video_fps: frames a second.
        video_max_frames: frames of a video at most.
        as_host: pictures and frames are those that LLaMA-Factory alone takes.
        cache_characters: how much is remembered.
    """

    def __init__(
        self,
        *,
        image_max_pixels: int | None,
        video_fps: float,
        video_max_frames: int,
        image_min_pixels: int | None = None,
        video_max_pixels: int | None = None,
        video_min_pixels: int | None = None,
        as_host: bool = False,
        cache_characters: int = CACHE_CHARACTERS,
    ) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is too small.
        """
        for name, value in (
            ("image_max_pixels", image_max_pixels),
            ("video_fps", video_fps),
            ("video_max_frames", video_max_frames),
            ("image_min_pixels", image_min_pixels),
            ("video_max_pixels", video_max_pixels),
            ("video_min_pixels", video_min_pixels),
        ):
            if value is not None and value <= 0:
                raise ValueError(f"{name}: got {value}, expected more than 0. Choose a larger number.")
        self._limits = {  # kind -> most and fewest pixels
            "images": (image_max_pixels, image_min_pixels or 0),
            "videos": (video_max_pixels or image_max_pixels, video_min_pixels or 0),
        }
        self.video_fps = video_fps
        self.video_max_frames = video_max_frames
        self.as_host = as_host
        self.cache_characters = cache_characters
        self._cache: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()
        self._cached = 0
        self._under_way: dict[tuple[str, str], asyncio.Future[tuple[str, ...]]] = {}

    async def get(self, kind: str, medium: Any) -> tuple[str, ...]:
        """Return the URLs of one medium: one of a picture, one a frame of a video.

        Args:
            kind: `images` or `videos`.
            medium: a path, encoded bytes, `{"bytes", "path"}`, a decoded picture, or for a video a list of pictures.

        Raises:
            ValueError: it cannot be read; the message says what and why.
        """
        if isinstance(medium, dict):
            medium = medium.get("bytes") or medium.get("path")
        if isinstance(medium, Path):
            medium = str(medium)
        if not isinstance(medium, str):
            return await asyncio.to_thread(self.encode, kind, medium)
        name = (kind, medium)
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        if name not in self._under_way:
            task = asyncio.ensure_future(asyncio.to_thread(self.encode, kind, medium))
            self._under_way[name] = task
            task.add_done_callback(lambda done: self._finish(name, done))
        # shielded: another request may wait for the same file
        return await asyncio.shield(self._under_way[name])

    def encode(self, kind: str, medium: Any) -> tuple[str, ...]:
        """Do the work of `get`, without threads and memory."""
        try:
            if kind == "images":
                return (self._picture(medium),)
            if isinstance(medium, list | tuple):
                return tuple(self._picture(one, "videos") for one in thin_out(medium, self.video_max_frames))
            frames = self._sample(medium)
            return tuple(_url("jpeg", _save(self._fit(frame, "videos"), "JPEG")) for frame in frames)
        except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, FFmpegError …
            shown = repr(medium) if isinstance(medium, str) else f"embedded data ({type(medium).__name__})"
            reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{kind}: got {shown}, expected a readable medium: {reason}. Correct the path or replace the file."
        )

    def _sample(self, medium: str | bytes) -> list[Image.Image]:
        if not is_clip(medium):
            read = read_frames_as_host if self.as_host else read_frames
            return read(medium, self.video_fps, self.video_max_frames)
        clip = Clip(str(medium))
        return list(map(see_picture, clip.images(clip.sample(self.video_fps, self.video_max_frames))))

    def _finish(self, name: tuple[str, str], done: "asyncio.Future[tuple[str, ...]]") -> None:
        del self._under_way[name]
        if done.cancelled() or done.exception() is not None:
            return
        self._cache[name] = done.result()
        self._cached += sum(map(len, done.result()))
        while self._cached > self.cache_characters:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= sum(map(len, dropped))

    def _picture(self, medium: Any, kind: str = "images") -> str:
        if isinstance(medium, dict):
            medium = medium.get("bytes") or medium.get("path")
        medium = draw_if_asked(medium, as_host=self.as_host)
        if isinstance(medium, Image.Image) and not self.as_host:
            return _url("png", _save(self._fit(see_picture(medium), kind), "PNG"))
        if isinstance(medium, Image.Image):
            return _url("png", _save(self._fit(medium.convert("RGB"), kind), "PNG"))
        if not isinstance(medium, str | Path | bytes) or not medium:
            raise ValueError("it is no path, no bytes and no picture")
        raw = medium if isinstance(medium, bytes) else Path(medium).read_bytes()
        if self.as_host:
            return _url("png", _save(self._fit(open_picture(raw).convert("RGB"), kind), "PNG"))
        with open_picture(raw) as image:
            file_format = image.format or ""
            if self._can_stay(image, raw, kind):
                return _url("png" if file_format == "PNG" else "jpeg", raw)
            seen = self._fit(flatten(upright(image)), kind)
        kept = "JPEG" if file_format in LOSSY and not is_see_through(image) else "PNG"
        return _url(kept.lower(), _save(seen, kept))

    def _can_stay(self, image: Image.Image, raw: bytes, kind: str) -> bool:
        if (
            limited(image.size, *self._limits[kind]) != image.size
            or orientation(image) != 1
            or image.mode not in ("RGB", "L")
        ):
            return False
        if image.format == "PNG":
            return raw[PNG_DEPTH_BYTE] == 8 and not is_see_through(image) and not getattr(image, "is_animated", False)
        return image.format in ("JPEG", "MPO")

    def _fit(self, image: Image.Image, kind: str) -> Image.Image:
        """Return a picture within the limits of its kind, in the size and with the filter of the host."""
        width, height = limited(image.size, *self._limits[kind])
        if (width, height) == image.size:
            return image
        return image.resize((max(width, 1), max(height, 1)))


def _save(image: Image.Image, file_format: str) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **({"quality": JPEG_QUALITY} if file_format == "JPEG" else {}))
    return out.getvalue()


def _url(subtype: str, content: bytes) -> str:
    return f"data:image/{subtype};base64,{base64.b64encode(content).decode('ascii')}"
