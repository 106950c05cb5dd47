"""What the converters of all formats share: options, media, and the columns that the host would lose."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from llamafactory.data.converter import DatasetConverter

from ..config.problem import RowProblem
from .fields import as_list, read_fields
from .media.check import MediaCheck
from .media.fields import MEDIA_FIELDS
from .options import RowOptions


# Not repeated in `_columns`: the host's own columns carry them.
HOST_FIELDS = (*MEDIA_FIELDS, "system", "tools")


@dataclass
class RowConverter(DatasetConverter):
    """Turn a row of one of our formats into the host's standard columns, with all its other fields as JSON in `_columns`.

    A format sets `ROWS`, its module of pure functions, and defines `examples`.

    Raises:
        ValueError: the `dataset_info.json` entry is wrong.
    """

    ROWS: ClassVar[ModuleType]

    def __post_init__(self) -> None:
        """Read the options; without `hind_info` (host used bare) only `ranking` is known."""
        info = getattr(self.dataset_attr, "hind_info", None) or {"ranking": bool(self.dataset_attr.ranking)}
        self.options: RowOptions = self.ROWS.read_options(info, name=self.dataset_attr.dataset_name)

    def __call__(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first example of a row; `examples` has those of the other tasks."""
        return next(self.examples(example))

    def examples(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the aligned examples of a good row, leaving the row as it is."""
        raise NotImplementedError

    def media_files(self, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (kind, path) of every media file that a row names."""
        fields = read_fields(row, self.options)
        for kind, items in self._opened_media(fields).items():
            for item in items:
                frames = item if isinstance(item, list) else [item]
                frame_kind = "images" if isinstance(item, list) else kind
                yield from ((frame_kind, frame) for frame in frames if isinstance(frame, str) and frame)

    def problems(self, row: Mapping[str, Any], media: MediaCheck) -> Iterator[RowProblem]:
        """Yield everything that is wrong with a row."""
        fields = read_fields(row, self.options)
        yield from self.ROWS.find_problems(fields, self.options)
        yield from self.media_problems(fields, media)

    def _aligned_media(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {f"_{kind}": items or None for kind, items in self._opened_media(fields).items()}

    def media_problems(self, fields: Mapping[str, Any], media: MediaCheck) -> Iterator[RowProblem]:
        """Yield the media files of a row that cannot be read."""
        for kind, items in self._opened_media(fields).items():
            for index, item in enumerate(items):
                problem = media.find_problem(f"{kind}[{index}]", kind, item)
                if problem is not None:
                    yield problem

    def _opened_media(self, fields: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the media of a row by kind, as the host shall open them."""
        media = {kind: [self._resolve(item) for item in as_list(fields.get(kind))] for kind in MEDIA_FIELDS}
        open_media = getattr(self.ROWS, "open_media", None)
        return media if open_media is None else open_media(fields, media)

    def media_type(self, kind: str, stored: Any) -> Any:
        """Return the type of a column of media, as `datasets` has it; `stored` is that of the column that was read."""
        return stored

    def _resolve(self, item: Any) -> Any:
        """Let the host turn a path, or the paths of a video's frames, into those under `media_dir`."""
        if isinstance(item, str) and item:
            folder = os.path.join(self.data_args.media_dir or "", item)  # of frames; the host looks for files alone
            return folder if os.path.isdir(folder) else self._find_medias([item])[0]
        if isinstance(item, list) and item and all(isinstance(frame, str) and frame for frame in item):
            return self._find_medias([list(item)])[0]  # the host writes into the inner list
        return item  # embedded, or nothing that has a path


def extra_columns(fields: Mapping[str, Any], **more: str) -> str:
    """Return every field that the host would lose as JSON: one Arrow type, whatever columns other datasets have."""
    extra = {name: _without_none(value) for name, value in fields.items() if name not in HOST_FIELDS} | more
    return json.dumps(extra, ensure_ascii=False, sort_keys=True, default=str)


def _without_none(value: Any) -> Any:
    # `datasets` gives every struct the keys of all rows; those a row did not have come back as None.
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
