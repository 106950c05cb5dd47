"""Pictures and frames of a run for a page: decoded and encoded anew, from the media folder alone, or a reason why not.

Nothing but pixels leaves: a text file, an SVG with script or a file elsewhere gives a grey box with its name. Names with `http` are
never fetched.
"""

import base64
import io
import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from ...formats.media.clips import Clip
from ...formats.media.drawn import apply_drawing, drawing_of
from ...formats.media.frames import read_frames
from ...formats.media.pictures import flatten, orientation, thin_out, upright
from ...formats.media.timelines import PICTURES
from ...storage.clip_names import ClipName, is_clip, parse_clip
from ...storage.digests import split_drawing


LARGEST_FILE = 64 * 2**20  # [ours] bytes of a picture
LARGEST_VIDEO = 2 * 2**30
MOST_PIXELS = 100_000_000
WIDTH, HEIGHT = 320, 320  # of a thumbnail at most
FRAMES = 4  # of a clip
KEPT = 512  # thumbnails in memory, about 15 kB each
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # decoders that take pixels alone
FRAMES_A_SECOND = 1000.0  # more than any video has: `FRAMES` is the limit


class NotShown(Exception):
    """Why a medium is not shown, in a few words."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture for a page.

    Attributes:
        name: of the file, for people.
        url: `data:image/jpeg;base64,…`; empty where it is not shown.
        width: of the original in pixels, as it is looked at; likewise `height`. Boxes are in these.
        why: it is not shown.
        boxed: boxes of the original can be drawn on it; not on a part that was cut out.
    """

    name: str
    url: str = ""
    width: int = 0
    height: int = 0
    why: str = ""
    boxed: bool = True


@dataclass
class PictureReader:
    """Makes thumbnails of media under a folder.

    Attributes:
        media_dir: absolute; None shows nothing, as nobody knows where the media of the run are.
    """

    media_dir: Path | None
    _kept: OrderedDict[tuple[Any, ...], list[Thumbnail]] = field(default_factory=OrderedDict)

    def picture(self, name: Any) -> Thumbnail:
        """Return the thumbnail of one entry of `images`; never raises."""
        return self._cached("image", name)[0]

    def frames(self, name: Any) -> list[Thumbnail]:
        """Return a few frames of one entry of `videos`: a file, a clip of it, or a list of pictures; never raises."""
        if isinstance(name, list):
            return [self.picture(frame) for frame in thin_out(name, FRAMES)] if name else [_grey("", "no frames")]
        return self._cached("video", name)

    def _cached(self, kind: str, name: Any) -> list[Thumbnail]:
        shown = _shown_name(name)
        try:
            path = self.resolve(name)
            status = path.stat()
            key = (kind, name, str(path), status.st_size, status.st_mtime_ns)
            if key not in self._kept:
                self._kept[key] = self._make(kind, str(name), path, status)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]
        except NotShown as why:
            return [_grey(shown, str(why))]
        except Exception:  # decoders raise what they like, also at what is no picture
            return [_grey(shown, "not a picture" if kind == "image" else "not a video")]

    def resolve(self, name: Any) -> Path:
        """Return the real path of a medium, links followed.

        Raises:
            NotShown: it is not a file of the media folder.
        """
        if not isinstance(name, str) or not name or name.startswith("<"):
            raise NotShown("embedded in the row")
        path = split_drawing(name)[0]
        path = parse_clip(path).source if is_clip(path) else path
        if "://" in path or path.startswith("data:"):
            raise NotShown("not a file: addresses are not fetched")
        if self.media_dir is None:
            raise NotShown("the run does not say where its media are")
        root = os.path.realpath(self.media_dir)
        real = os.path.realpath(os.path.join(root, path))
        if os.path.commonpath([root, real]) != root:
            raise NotShown("outside of the media folder")
        if not os.path.exists(real):
            raise NotShown("missing")
        return Path(real)

    def _make(self, kind: str, name: str, path: Path, status: os.stat_result) -> list[Thumbnail]:
        pictures = _pictures_of(name, path) if kind == "video" else None
        if pictures is not None:  # each of them is resolved by itself: a link among them leads nowhere else
            return [self.picture(picture) for picture in thin_out(pictures, FRAMES)]
        if not stat.S_ISREG(status.st_mode):
            raise NotShown("not a file")
        if status.st_size > (LARGEST_FILE if kind == "image" else LARGEST_VIDEO):
            raise NotShown("too large")
        return [self._thumbnail(name, path)] if kind == "image" else self._clip(name, path)

    def _thumbnail(self, name: str, path: Path) -> Thumbnail:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NotShown("too large")
            lies = orientation(image) >= 5
            size = (image.height, image.width) if lies else image.size
            drawing = drawing_of(name)
            if drawing is None:
                image.draft("RGB", (2 * WIDTH, 2 * HEIGHT))  # a JPEG is decoded smaller, which is faster
            image.load()
            picture = flatten(upright(image))
            if drawing is not None:
                picture = apply_drawing(picture, drawing)
        cut = drawing is not None and "crop" in drawing
        return Thumbnail(_shown_name(name), _data_url(picture), *(picture.size if cut else size), boxed=not cut)

    def _clip(self, name: str, path: Path) -> list[Thumbnail]:
        with open(path, "rb") as file:
            if not _is_container(file.read(16)):
                raise NotShown("not a video")  # a play list, of which FFmpeg would open every address
        if is_clip(name):
            clip = Clip(replace(parse_clip(name), source=str(path)))
            images = list(clip.images(clip.sample(fps=FRAMES_A_SECOND, most=FRAMES)))
        else:
            images = read_frames(str(path), FRAMES_A_SECOND, FRAMES)
        shown = _shown_name(name)
        return [
            Thumbnail(f"{shown}, frame {number}", _data_url(flatten(image)), *image.size)
            for number, image in enumerate(images, 1)
        ]


def _is_container(head: bytes) -> bool:
    """Say whether a file begins as a video does: MP4 and MOV, Matroska and WebM, AVI, MPEG, FLV, Ogg, GIF."""
    boxes = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
    begins = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV", b"OggS", b"GIF8", b"G")
    return head[4:8] in boxes or (head[:4] == b"RIFF" and head[8:11] == b"AVI") or head.startswith(begins)


def _pictures_of(name: str, path: Path) -> list[str] | None:
    """Return the names of the pictures of a clip that is a folder or a list of them; None for a file.

    Raises:
        NotShown: there is none.
    """
    clip = parse_clip(name) if is_clip(name) else ClipName(name)
    if not clip.pictures and not path.is_dir():
        return None
    names = list(clip.pictures) or sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in PICTURES)
    if clip.indices is not None:
        names = [names[number] for number in clip.indices if number < len(names)]
    elif clip.fps:
        start, end = clip.span
        rate = float(clip.fps)
        names = names[int(start * Fraction(rate)) : None if end is None else int(end * Fraction(rate)) + 1]
    if not names:
        raise NotShown("no pictures in it")
    return [os.path.join(clip.source, name) for name in names]


def split_source(name: str) -> str:
    """Return the source of a clip, any other name as it is."""
    return parse_clip(name).source if is_clip(name) else name


def _shown_name(name: Any) -> str:
    """Return the name of a file without its folder, for a caption."""
    if not isinstance(name, str):
        return type(name).__name__
    return os.path.basename(split_source(split_drawing(name)[0]))[-80:] or name[-80:]


def _grey(name: str, why: str) -> Thumbnail:
    return Thumbnail(name, why=why)


def _data_url(image: Image.Image) -> str:
    image = image.copy()
    image.thumbnail((WIDTH, HEIGHT))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def frames_of(reader: PictureReader, media: dict[str, Sequence[Any]]) -> list[Thumbnail]:
    """Return the thumbnails of a prompt: its pictures in their order, then frames of its videos."""
    pictures = [reader.picture(name) for name in media.get("images") or []]
    clips = [frame for name in media.get("videos") or [] for frame in reader.frames(name)]
    return [*pictures, *clips]
