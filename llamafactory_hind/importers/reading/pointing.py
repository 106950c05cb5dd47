"""Texts that point at objects of a picture, and the pictures of VCR, which VisualCOMET and Sherlock share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...config.problem import show
from ...regions import clamp_box, read_tokens, reindex
from .entries import ImportRefused, Reader, read_json


VCR_FOLDER = "vcr1images"
KEPT_PICTURES = 256  # [ours] rows of one picture stand together in the files
Region = dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """What the metadata file of a picture says.

    Attributes:
        names: class of each object, `person`, `bottle` …
        regions: one for each object, its box in pixels of the picture, cut to it.
    """

    names: tuple[str, ...]
    regions: tuple[Region, ...]

    @property
    def people(self) -> list[int]:
        """Numbers of the objects that are people."""
        return [number for number, name in enumerate(self.names) if name == "person"]


class VcrPictures:
    """Pictures of VCR in a folder: `vcr1images/<movie>/<name>.jpg` with `.json` beside it, or without the first folder."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        """Keep the folder; problems of metadata files go to the reader."""
        self._folder, self._reader = folder, reader
        self._read = lru_cache(KEPT_PICTURES)(self._read_objects)

    def find(self, image: str, metadata: str) -> tuple[tuple[str, ...], Objects]:
        """Return the names that a picture may have, and its objects.

        Without a metadata file there are no objects, and the names are those of that file, which then counts as missing.
        """
        for prefix in (f"{VCR_FOLDER}/", ""):
            if (self._folder / prefix / metadata).is_file():
                return vcr_names(image), self._read(self._folder / prefix / metadata)
        return vcr_names(metadata), Objects((), ())

    def _read_objects(self, path: Path) -> Objects:
        try:
            content = read_json(path, dict)
        except ImportRefused as error:
            self._reader.problems.append(" ".join(str(error).split("\n")[1:2]).strip(" -") or str(path))
            return Objects((), ())
        names = self._reader.take_texts(content, "names", str(path)) if content.get("names") else []
        size = [self._reader.take(content, side, int, str(path), default=1) for side in ("width", "height")]
        boxes = content.get("boxes") or []
        if not isinstance(boxes, list) or len(boxes) != len(names):
            expected = f"a box for each of the {len(names)} `names`"
            self._reader.problems.append(f"{path}, field `boxes`: got {show(boxes)}, expected {expected}")
            return Objects((), ())
        regions = []
        for number, (name, box) in enumerate(zip(names, boxes, strict=True)):
            try:
                corners = clamp_box(tuple(box[:4]), (size[0], size[1]))  # the fifth number is a detector's score
            except (ValueError, TypeError) as error:
                self._reader.problems.append(f"{path}, field `boxes[{number}]`: {str(error).removeprefix('box: ')}")
                continue
            regions.append({"image": 0, "box": list(corners), "label": name})
        return Objects(tuple(names), tuple(regions)) if len(regions) == len(names) else Objects((), ())


def vcr_names(file: str) -> tuple[str, str]:
    """Return where a file of VCR's pictures may lie."""
    return f"{VCR_FOLDER}/{file}", file


def take_tokens(reader: Reader, record: Any, field: str, place: str) -> str:
    """Return a token list of VCR or LSKD as text with mentions; where it is none, note the problem and return empty text."""
    value = record.get(field) if isinstance(record, dict) else None
    return text_of(reader, value, f"{place}, field `{field}`")


def text_of(reader: Reader, value: Any, place: str) -> str:
    """Return tokens as text with mentions; where they are none, note the problem and return empty text."""
    try:
        text = read_tokens(value)
    except ValueError as error:
        reader.problems.append(f"{place}: {error}")
        return ""
    if not text.strip():
        reader.problems.append(f"{place}: got nothing, expected tokens")
    return text


def keep_used(
    texts: Sequence[str], regions: Sequence[Region], *, keep: Iterable[int] = ()
) -> tuple[list[str], list[Region]]:
    """Return texts and only those regions that they mention, numbered from 0 in stored order.

    Args:
        texts: all of one row; every number that they mention is a region.
        regions: of the picture.
        keep: numbers that stay, mentioned or not.
    """
    renamed, kept = reindex(texts, keep=keep)
    return renamed, [regions[index] for index in kept]
