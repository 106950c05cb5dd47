"""A run that is being looked at: its index, its records, its pictures, and the texts that were looked for."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...storage.completion_files import FOLDER, read_run_record
from .index import SLICE, Index
from .pictures import PictureReader, Thumbnail, frames_of
from .query import Query, matching
from .records import Record, RecordReader, parsed
from .search import Search


SEARCHES = 4  # [ours] texts whose findings stay in memory
AT_ONCE = 512  # records that are read together while exporting


@dataclass
class OpenedRun:
    """One run.

    Attributes:
        folder: of the run.
        media_dir: where its media are looked for; None is what the run says.
        lock: held while it is looked at: sessions share it.
    """

    folder: Path
    media_dir: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    reader: RecordReader = field(default_factory=RecordReader)
    _searches: OrderedDict[str, Search] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Read nothing yet."""
        self.index = Index(self.folder / FOLDER)
        self.record: dict[str, Any] | None = None
        self.pictures = PictureReader(self.media_dir)
        self.read_record()

    def read_record(self) -> None:
        """Read what the run says of itself, unless it was read: a run that has just begun says nothing yet."""
        if self.record is not None:
            return
        self.record = read_run_record(self.folder / FOLDER)
        media = (self.record or {}).get("media_dir")
        if self.media_dir is None and isinstance(media, str) and os.path.isabs(media):
            self.pictures = PictureReader(Path(media))

    def advance(self, query: Query, seconds: float = SLICE) -> None:
        """Read on for so long, then look on for the text of the query for so long."""
        self.index.update(seconds)
        if query.text:
            self.search(query.text).advance(self.index, seconds)

    def search(self, text: str) -> Search:
        """Return the search for a text, begun or not."""
        found = self._searches.setdefault(text, Search(text))
        self._searches.move_to_end(text)
        while len(self._searches) > SEARCHES:
            self._searches.popitem(last=False)
        return found

    def busy(self, query: Query) -> bool:
        """Whether there is more to read or to look through."""
        if not self.index.complete:
            return True
        if not query.text:
            return False
        search = self.search(query.text)
        return not search.stopped and search.looked < len(self.index.rows.files)

    def matching(self, query: Query) -> np.ndarray:
        """Return the completions that a query picks, of what was read."""
        rows = self.index.rows
        return matching(rows, query, self.found(query))

    def found(self, query: Query) -> np.ndarray | None:
        """Return which completions hold the text of a query; None where it has none."""
        return self.search(query.text).mask(self.index.rows) if query.text else None

    def records(self, picked: Sequence[int] | np.ndarray) -> list[Record]:
        """Return the records of some completions."""
        return self.reader.read(self.index.rows, [int(number) for number in picked])

    def all_records(self, picked: np.ndarray) -> Iterator[Record]:
        """Yield the records of many completions, a few at a time in memory."""
        for start in range(0, len(picked), AT_ONCE):
            yield from self.records(picked[start : start + AT_ONCE])

    def thumbnails(self, record: Record) -> list[Thumbnail]:
        """Return the pictures of a prompt."""
        media: dict[str, Any] = parsed(record, "media", {})
        return frames_of(self.pictures, {kind: some for kind, some in media.items() if isinstance(some, list)})
