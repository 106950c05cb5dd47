"""The content of media files as digests, on disk: a file that has not changed is not read again."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from ...storage.append_log import append_lines
from ...storage.digests import LARGE


SETTLED = (
    2 * 10**9
)  # [ours] nanoseconds: a file changed just now may change again within one tick of its file system's clock


class FileDigests:
    """Digests of files by path, size, times of change and inode.

    Lines are appended, whole: several processes may share a file. Threads may ask at the same time.

    Args:
        path: of the index; one that cannot be read or written is left alone, and files are read again. None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what is known."""
        self._path = path
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        if path is None:
            return
        with suppress(OSError), open(path, encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, TypeError):  # cut short by a kill
                    key, digest = json.loads(line)
                    self._known[key] = digest

    def digest(self, path: str) -> str:
        """Return a digest of what is in a file.

        Above `LARGE` bytes path, size and times stand for the content: to read all of a long video takes longer than to decode
        the frames that are looked at [ours].

        Raises:
            OSError: there is no such file, it cannot be read, or its name cannot be one.
        """
        try:
            status = os.stat(path)
        except ValueError as error:  # U+0000, half a surrogate pair
            raise OSError(f"{path!r}: no name of a file: {error}") from None
        if (known := self._known.get(_key(path, status))) is not None:
            return known
        if status.st_size > LARGE:
            return _key(path, status)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        after = os.stat(path)
        is_settled = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) > SETTLED
        if is_settled and _key(path, after) == _key(path, status):
            self._new[_key(path, status)] = digest
        return digest

    def save(self) -> None:
        """Put what was read since the last call on disk."""
        new, self._new = self._new, {}
        self._known.update(new)
        if new and self._path is not None:
            with suppress(OSError):  # read-only or full: the next run reads again
                append_lines(self._path, [json.dumps(item) for item in new.items()])


def _key(path: str, status: os.stat_result) -> str:
    # The time of the inode (`ctime`) changes with the content also where the time of change (`mtime`) is put back.
    what = (os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return hashlib.blake2b(repr(what).encode(errors="surrogateescape"), digest_size=12).hexdigest()
