"""The name of a clip: a file, a folder of pictures or a list of them, and which part of it, as one text.

`v.mp4#t=1.0,7.5` is what lies between these seconds of the file. Media travel as texts through the host's tables, caches and
processes, so a name goes wherever a path goes, and no second file is written. The form is that of media fragments (W3C), with
parts of our own.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import quote, unquote


NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
NUMBERS = rf"{NUMBER}(?:,{NUMBER})*"
NAME = re.compile(
    rf"(?P<source>.+)#t=(?P<start>{NUMBER}),(?P<end>{NUMBER})?"
    rf"(?:&n=(?P<indices>\d+(?:,\d+)*))?(?:&s=(?P<seconds>{NUMBERS}))?(?:&fps=(?P<fps>{NUMBER}))?"
    r"(?:&f=(?P<pictures>[^&#]+))?(?:&shuffle=(?P<shuffle>\d+))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class ClipName:
    """What the name of a clip says.

    Attributes:
        source: a video file, or the folder of pictures.
        start: seconds of the source, as a decimal number.
        end: likewise; None is the end of the source.
        indices: the frames to show, numbers of the source's frames from 0; None where they are yet to be chosen.
        seconds: when each of them is shown, in seconds of the source; None where only the numbers are known.
        fps: pictures a second of a folder or list.
        pictures: of a list, below `source`; empty for a file and for a whole folder.
        shuffle: seed of a random order of the frames that are shown; None leaves them in order.
    """

    source: str
    start: str = "0"
    end: str | None = None
    indices: tuple[int, ...] | None = None
    seconds: tuple[str, ...] | None = None
    fps: str | None = None
    pictures: tuple[str, ...] = ()
    shuffle: int | None = None

    @property
    def fragment(self) -> str:
        """What stands behind the source."""
        return str(self).removeprefix(self.source)

    def __str__(self) -> str:
        """Return the text."""
        parts = {
            "n": ",".join(map(str, self.indices or ())),
            "s": ",".join(self.seconds or ()),
            "fps": self.fps,
            "f": ",".join(quote(name) for name in self.pictures),
            "shuffle": None if self.shuffle is None else str(self.shuffle),
        }
        told = "".join(f"&{key}={value}" for key, value in parts.items() if value)
        return f"{self.source}#t={self.start},{self.end or ''}{told}"

    @property
    def span(self) -> tuple[Fraction, Fraction | None]:
        """Start and end in seconds, exactly as they were written: 1.1 is eleven tenths."""
        return Fraction(self.start), None if self.end is None else Fraction(self.end)


def is_clip(name: object) -> bool:
    """Say whether a medium is the name of a clip."""
    return isinstance(name, str) and "#t=" in name and NAME.fullmatch(name) is not None


def parse_clip(name: str) -> ClipName:
    """Read the name of a clip.

    Raises:
        ValueError: it is none.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"clip: got {name!r:.160}, expected a name such as `v.mp4#t=1.0,7.5`.")
    found = match.groupdict()
    return ClipName(
        source=found["source"],
        start=found["start"],
        end=found["end"],
        indices=tuple(map(int, found["indices"].split(","))) if found["indices"] else None,
        seconds=tuple(found["seconds"].split(",")) if found["seconds"] else None,
        fps=found["fps"],
        pictures=tuple(map(unquote, found["pictures"].split(","))) if found["pictures"] else (),
        shuffle=int(found["shuffle"]) if found["shuffle"] else None,
    )


def source_of(name: str) -> str:
    """Return the file or folder of a clip, and any other path as it is."""
    return parse_clip(name).source if is_clip(name) else name


def files_of(name: str) -> list[str]:
    """Return the file or folder of a clip, or the pictures of its list; any other path as it is."""
    if not is_clip(name):
        return [name]
    clip = parse_clip(name)
    return [os.path.join(clip.source, picture) for picture in clip.pictures] or [clip.source]


def folder_of(pictures: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return (folder, names below it) of a list of pictures."""
    paths = list(map(os.path.normpath, pictures))
    if len({os.path.isabs(path) for path in paths}) > 1:
        paths = list(map(os.path.abspath, paths))
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) or "."
    return folder, tuple(os.path.relpath(path, folder) for path in paths)


def decimal(value: float | int | Fraction) -> str:
    """Return seconds as a name has them: at most six digits behind the point, no exponent."""
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    return text or "0"
