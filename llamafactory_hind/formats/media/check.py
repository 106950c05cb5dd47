"""Media files are opened and decoded before training, so that an unreadable one is a named row and not a crash at step 4,000."""

import hashlib
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
from PIL import Image

from ...config.problem import RowProblem, show
from ...storage.clip_names import files_of, is_clip, source_of
from .clip_problems import ClipProblem
from .clips import Clip


KINDS = {"images": "image", "videos": "video", "audios": "audio"}
TAIL_SECONDS = 1.0  # decoding the end of a clip finds files that were cut off


class MediaCheck:
    """Opens media files, each path once.

    Args:
        workers: threads that decode; Pillow and PyAV release the interpreter lock.
    """

    def __init__(self, *, workers: int = 1) -> None:
        """Start with nothing checked."""
        self.workers = max(workers, 1)
        self._reasons: dict[tuple[str, str], str | ClipProblem | None] = {}

    def __len__(self) -> int:
        """Return how many files were checked."""
        return len(self._reasons)

    def open_all(self, files: Iterable[tuple[str, str]]) -> None:
        """Check (kind, path) pairs in parallel; `find_problems` then answers from memory."""
        missing = [file for file in dict.fromkeys(files) if file not in self._reasons]
        with ThreadPoolExecutor(self.workers) as pool:
            self._reasons.update(zip(missing, pool.map(_open_file, missing), strict=True))

    def find_problem(self, field: str, kind: str, item: Any) -> RowProblem | None:
        """Return what is wrong with one entry of `images`, `videos` or `audios`, or None.

        Args:
            field: name for the error, such as `images[0]`.
            kind: `images`, `videos` or `audios`.
            item: a path, encoded bytes, `{"bytes", "path"}`, a decoded picture, or for a video a list of pictures, or the name
                of a clip (`clip_names`), which is opened where it begins and ends.
        """
        if kind == "videos" and isinstance(item, list):
            frames = (self.find_problem(f"{field}[{i}]", "images", frame) for i, frame in enumerate(item))
            return next((problem for problem in frames if problem), None if item else _unusable(field, kind, item))
        if isinstance(item, dict):
            item = item.get("bytes") or item.get("path")
        if isinstance(item, str) and item:
            if (kind, item) not in self._reasons:
                self._reasons[kind, item] = _open_file((kind, item))
            reason = self._reasons[kind, item]
        elif isinstance(item, (bytes, Image.Image)):
            reason = _open(kind, io.BytesIO(item) if isinstance(item, bytes) else item)
        else:
            return _unusable(field, kind, item)
        if reason is None:
            return None
        if isinstance(reason, ClipProblem):
            return RowProblem(reason.field or field, reason.got, reason.expected, reason.remedy)
        got = show(item) if isinstance(item, str) else "embedded data"
        return RowProblem(field, got, f"a readable {KINDS[kind]}", f"{reason}; correct the path or replace the file")

    def fingerprint(self) -> str:
        """Return a digest of path, size and time of change of every file checked: cached tokens depend on them."""
        digest = hashlib.sha256()
        for path in dict.fromkeys(file for _, name in sorted(self._reasons) for file in files_of(name)):
            status = os.stat(path) if os.path.exists(path) else None
            digest.update(repr((path, status and (status.st_size, status.st_mtime_ns))).encode())
        return digest.hexdigest()


def _unusable(field: str, kind: str, item: Any) -> RowProblem:
    return RowProblem(field, show(item), f"the path of a {KINDS[kind]} file", "write the path, or remove the entry")


def _open_file(file: tuple[str, str]) -> str | ClipProblem | None:
    kind, path = file
    if kind == "videos" and is_clip(path):
        return _open_clip(path)
    return _open(kind, path) if os.path.isfile(path) else "the file does not exist (`media_dir` was searched first)"


def _open_clip(name: str) -> str | ClipProblem | None:
    """Return why a clip cannot be shown, None when it can: its first and last frames, or all its pictures, are decoded."""
    source = source_of(name)
    if not os.path.exists(source):
        return _not_there(source)
    try:
        clip = Clip(name)
        positions = (
            range(clip.count) if clip.timeline.pictures else sorted({0, clip.count - 1, *(clip.recorded or ())})
        )
        for _ in clip.images(positions):
            pass
    except ClipProblem as problem:
        return problem
    except Exception as error:  # decoders raise what they like
        return f"{type(error).__name__}: {error}"
    return None


def _not_there(path: str) -> ClipProblem:
    remedy = "it does not exist (`media_dir` was searched first); correct the path"
    return ClipProblem("", show(path), "a file or folder", remedy)


def _open(kind: str, source: Any) -> str | None:
    """Return why a file cannot be read, None when it can."""
    try:
        if kind == "images":
            with Image.open(source) if not isinstance(source, Image.Image) else source.copy() as image:
                image.load()
        else:
            _decode_ends(source, "video" if kind == "videos" else "audio")
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, FFmpegError …
        return f"{type(error).__name__}: {error}"
    return None


def _decode_ends(source: Any, stream_type: str) -> None:
    with av.open(source, "r") as container:
        stream = next((stream for stream in container.streams if stream.type == stream_type), None)
        if stream is None:
            raise ValueError(f"it has no {stream_type} stream")
        if next(container.decode(stream), None) is None:
            raise ValueError(f"it has no {stream_type} frame")
        if stream.duration is not None:
            tail = max(stream.duration - int(TAIL_SECONDS / stream.time_base), 0) + (stream.start_time or 0)
            container.seek(tail, stream=stream)  # lands on the key frame before
            if next(container.decode(stream), None) is None:
                raise ValueError(f"its last {stream_type} frames are missing")
