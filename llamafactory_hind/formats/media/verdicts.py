"""What was found out about media files, on disk: a second run opens none whose content it has seen."""

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
from .file_digests import FileDigests
from .host_view import WAY
from .inspection import Verdict
from .view import MediaView


FILE, DIGESTS = "media_checks.jsonl", "media_digests.jsonl"


def default_folder() -> Path:
    """Return the cache folder of the `datasets` library, without importing it."""
    home = os.getenv("HF_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.getenv("HF_DATASETS_CACHE") or os.path.join(home, "datasets")).expanduser()


class VerdictStore:
    """Verdicts by what is in a file, how it is seen, and the versions that look at it.

    A file that was copied, moved or touched is known; what is wrong with a bad one names its path, so that a bad one is known
    there alone.

    Lines are appended, whole: several processes may share a file. One that cannot be written or read is left alone, the media
    are then looked at again.

    Args:
        folder: of the cache; None is that of `datasets`.
        view: how the run sees media.

    Attributes:
        digests: of the content of files.
    """

    def __init__(self, folder: str | Path | None, view: MediaView) -> None:
        """Read what is known."""
        own = Path(folder or default_folder()) / "llamafactory_hind"
        self._path, self.digests = own / FILE, FileDigests(own / DIGESTS)
        self._made_from = repr((view, WAY, __version__, av.__version__, PIL.__version__))
        self._known: dict[str, Verdict] = {}
        self._contents: dict[tuple[str, str], str | None] = {}  # as they were when they were looked for
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
        """Return what is known of a file as it is now; threads may ask at the same time."""
        content = self._contents[kind, path] = self._content(kind, path)
        if content is None:
            return None
        return self._known.get(self._key(content)) or self._known.get(self._key(content, path))

    def keep(self, found: Iterable[tuple[tuple[str, str], Verdict]]) -> None:
        """Add verdicts on (kind, path) that `find` did not know, and what it learnt about files."""
        new = []
        for (kind, path), verdict in found:
            content = self._contents[kind, path]
            if content is not None and verdict.problem is None:  # a clip's problem has parts
                new.append((self._key(content, None if verdict.reason is None else path), verdict))
        self._known.update(new)
        lines = [json.dumps([key, verdict.reason, verdict.differences]) for key, verdict in new]
        if lines:
            with suppress(OSError):  # read-only or full: the next run looks again
                append_lines(self._path, lines)
        self._contents.clear()
        self.digests.save()

    def _key(self, content: str, path: str | None = None) -> str:
        what = repr((content, path and os.path.realpath(path), self._made_from))
        return hashlib.blake2b(what.encode(errors="surrogateescape"), digest_size=12).hexdigest()

    def _content(self, kind: str, path: str) -> str | None:
        """Return what is looked at: the files of a medium and the part that is seen; None where that cannot be told."""
        files = files_of(path)
        if is_clip(path) and os.path.isdir(files[0]):
            return None  # a picture may be written anew without a trace at its folder
        try:
            # Decoders go by the content, and where that says too little by the ending.
            contents = [(self.digests.digest(file), os.path.splitext(file)[1].lower()) for file in files]
        except OSError:
            return None
        return repr((kind, contents, parse_clip(path).fragment if is_clip(path) else ""))
