"""What was found out about media files, on disk: a second run opens none that has not changed."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import av
import PIL

from ... import __version__
from ...storage.append_log import append_lines
from ...storage.clip_names import files_of, is_clip, parse_clip
from .host_view import WAY
from .inspection import Verdict
from .view import MediaView


FILE = "media_checks.jsonl"


def default_folder() -> Path:
    """Return the cache folder of the `datasets` library, without importing it."""
    home = os.getenv("HF_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.getenv("HF_DATASETS_CACHE") or os.path.join(home, "datasets")).expanduser()


class VerdictStore:
    """Verdicts by what a file is: its real path, size and time of change, how it is seen, and the versions that look at it.

    Lines are appended, whole: several processes may share a file. One that cannot be written or read is left alone, the media
    are then looked at again.

    Args:
        folder: of the cache; None is that of `datasets`.
        view: how the run sees media.
    """

    def __init__(self, folder: str | Path | None, view: MediaView) -> None:
        """Read what is known."""
        self._path = Path(folder or default_folder()) / "llamafactory_hind" / FILE
        self._made_from = repr((view, WAY, __version__, av.__version__, PIL.__version__))
        self._known: dict[str, Verdict] = {}
        try:
            with open(self._path, encoding="utf-8") as file:
                for line in file:
                    self._read(line)
        except OSError:
            pass

    def _read(self, line: str) -> None:
        try:
            key, reason, differences = json.loads(line)
        except (ValueError, TypeError):
            return  # cut short by a kill
        self._known[key] = Verdict(reason, tuple(differences))

    def find(self, kind: str, path: str) -> Verdict | None:
        """Return what is known of a file as it is now."""
        key = self._key(kind, path)
        return None if key is None else self._known.get(key)

    def keep(self, found: Iterable[tuple[tuple[str, str], Verdict]]) -> None:
        """Add verdicts on (kind, path)."""
        new = [
            (key, verdict)
            for (kind, path), verdict in found
            if verdict.problem is None and (key := self._key(kind, path)) is not None  # a clip's problem has parts
        ]
        self._known.update(new)
        lines = [json.dumps([key, verdict.reason, verdict.differences]) for key, verdict in new]
        if lines:
            with suppress(OSError):  # read-only or full: the next run looks again
                append_lines(self._path, lines)

    def _key(self, kind: str, path: str) -> str | None:
        files = files_of(path)
        try:
            statuses = [(os.path.realpath(file), os.stat(file)) for file in files]
        except OSError:
            return None
        if is_clip(path) and os.path.isdir(files[0]):
            return None  # a picture may be written anew without a trace at its folder
        part = parse_clip(path).fragment if is_clip(path) else ""
        contents = [(name, status.st_size, status.st_mtime_ns) for name, status in statuses]
        what = repr((kind, contents, part, self._made_from))
        return hashlib.blake2b(what.encode(errors="surrogateescape"), digest_size=12).hexdigest()
