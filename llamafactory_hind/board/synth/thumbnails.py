"""Pictures as the page gets them: decoded here, made small, and encoded again; a file never leaves the machine as it is."""

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ...formats.media.frames import read_frames
from ...formats.media.pictures import see_picture


SIZE = 160  # [ours] pixels of the longer side
FRAMES = 4  # [ours] of a video
LARGEST = 64 * 1024 * 1024  # [ours] bytes of a file that is opened


def thumbnails(media: Mapping[str, Sequence[Any]], folder: Path) -> str:
    """Return the pictures and frames of a row as HTML; a box with a reason stands for one that cannot be shown.

    Args:
        media: kind -> names of files.
        folder: that files must lie under, links resolved.
    """
    parts = []
    for kind, names in media.items():
        for name in names:
            shown = Path(str(name)).name
            try:
                for image in _images(kind, str(name), folder):
                    parts.append(f'<img src="{data_uri(image)}" alt="{escape(shown)}" style="margin:2px">')
            except Exception as error:  # decoders raise what they like; the page says why there is no picture
                reason = escape(f"{shown}: {error}"[:200])
                parts.append(f'<span class="hind-grey" title="{reason}">{reason}</span>')
    return "".join(parts)


def _images(kind: str, name: str, folder: Path) -> Iterator[Image.Image]:
    path, part = checked(name, folder)
    if kind == "images":
        yield see_picture(str(path))
    elif kind == "videos" and not part:
        yield from read_frames(str(path), 1.0, FRAMES)
    else:
        raise ValueError(f"{kind} are not shown")


def checked(name: str, folder: Path) -> tuple[Path, str]:
    """Return the file of a medium and the part of it that is named behind `#`.

    Raises:
        ValueError: it is missing, no regular file, too large, or outside the folder.
    """
    file, _, part = name.partition("#")
    path = Path(os.path.realpath(file))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise ValueError("it lies outside the media folder")
    if not path.is_file():
        raise ValueError("it is not there")
    if path.stat().st_size > LARGEST:
        raise ValueError("it is too large to be shown")
    return path, part


def data_uri(image: Image.Image) -> str:
    """Return a small copy of a picture as a data URI."""
    small = image.convert("RGB")
    small.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
