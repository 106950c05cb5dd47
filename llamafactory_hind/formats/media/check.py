"""Media files are opened and decoded before training as it will do, so that an unreadable one is a named row and not a crash.

What is decoded is what training decodes: of a video the sampled frames, of a picture all of it.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from ...config.problem import RowProblem, show
from ...storage.clip_names import files_of
from .file_digests import FileDigests
from .inspection import Verdict, inspect, inspect_file
from .verdicts import VerdictStore
from .view import MediaView


KINDS = {"images": "image", "videos": "video", "audios": "audio"}
NAMES = {"images": "pictures", "videos": "videos"}


class MediaCheck:
    """Opens media files, each path once.

    Args:
        workers: threads that decode; Pillow and PyAV release the interpreter lock. None is one a core, at most 8.
        view: how the run sees media.
        store: what earlier runs found; None looks at every file.
    """

    def __init__(
        self, *, workers: int | None = 1, view: MediaView | None = None, store: VerdictStore | None = None
    ) -> None:
        """Start with nothing checked."""
        self.workers = max(workers or min(8, os.cpu_count() or 1), 1)
        self.view = view or MediaView()
        self._store = store
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._embedded: list[tuple[str, Verdict]] = []
        self._opened = 0

    def __len__(self) -> int:
        """Return how many files were checked."""
        return len(self._verdicts)

    @property
    def opened(self) -> int:
        """Files that were opened now; the others were known from an earlier run."""
        return self._opened

    def open_all(self, files: Iterable[tuple[str, str]]) -> None:
        """Check (kind, path) pairs in parallel; `find_problems` then answers from memory."""
        missing = [file for file in dict.fromkeys(files) if file not in self._verdicts]
        if not missing:
            return
        with ThreadPoolExecutor(self.workers) as pool:
            looked = list(zip(missing, pool.map(self._look, missing), strict=True))
        self._verdicts.update((file, verdict) for file, (verdict, _) in looked)
        opened = [(file, verdict) for file, (verdict, is_new) in looked if is_new]
        self._opened += len(opened)
        if self._store is not None:
            self._store.keep(opened)

    def _look(self, file: tuple[str, str]) -> tuple[Verdict, bool]:
        """Return the verdict on a file, and whether it was opened for it."""
        known = None if self._store is None else self._store.find(*file)
        return (inspect_file(*file, self.view), True) if known is None else (known, False)

    def find_problem(self, field: str, kind: str, item: Any) -> RowProblem | None:
        """Return what is wrong with one entry of `images`, `videos` or `audios`, or None.

        Args:
            field: name for the error, such as `images[0]`.
            kind: `images`, `videos` or `audios`.
            item: a path, encoded bytes, `{"bytes", "path"}`, a decoded picture, or for a video a list of pictures, or the name
                of a clip (`storage.clip_names`).
        """
        if kind == "videos" and isinstance(item, list):
            frames = (self.find_problem(f"{field}[{i}]", "images", frame) for i, frame in enumerate(item))
            return next((problem for problem in frames if problem), None if item else _unusable(field, kind, item))
        if isinstance(item, dict):
            item = item.get("bytes") or item.get("path")
        if isinstance(item, str) and item:
            self.open_all([(kind, item)])
            verdict = self._verdicts[kind, item]
            if verdict.problem is not None:
                problem = verdict.problem
                return RowProblem(problem.field or field, problem.got, problem.expected, problem.remedy)
            reason = verdict.reason
        elif isinstance(item, (bytes, Image.Image)):
            verdict = inspect(kind, item, self.view)
            self._embedded.append((kind, verdict))
            reason = verdict.reason
        else:
            return _unusable(field, kind, item)
        if reason is None:
            return None
        got = show(item) if isinstance(item, str) else "embedded data"
        return RowProblem(field, got, f"a readable {KINDS[kind]}", f"{reason}; correct the path or replace the file")

    def fingerprint(self) -> str:
        """Return a digest of path and content of every file checked: cached tokens depend on them, as verdicts do."""
        digest = hashlib.sha256(repr(self.view).encode())
        contents = FileDigests() if self._store is None else self._store.digests
        for path in dict.fromkeys(file for _, name in sorted(self._verdicts) for file in files_of(name)):
            digest.update(repr((path, _content(contents, path))).encode())
        return digest.hexdigest()

    def told_differences(self) -> str | None:
        """Return in how many files the host alone sees something else, in one line; None where there is none."""
        parts = []
        for kind, name in NAMES.items():
            looked_at = [*((own, verdict) for (own, _), verdict in self._verdicts.items()), *self._embedded]
            verdicts = [verdict for own, verdict in looked_at if own == kind]
            counts = Counter(difference for verdict in verdicts for difference in verdict.differences)
            if counts:
                told = ", ".join(f"{count} have {difference}" for difference, count in counts.most_common())
                parts.append(f"of {len(verdicts)} {name} {told}")
        if not parts:
            return None
        way = (
            "They are seen as LLaMA-Factory alone sees them (`media_as_host: true`); servers and other tools may see them "
            "otherwise."
            if self.view.media_as_host
            else "All commands here see them upright, on white, evenly in time; LLaMA-Factory alone does not, and "
            "`media_as_host: true` sees them as it does (docs/media.md)."
        )
        return f"{'; '.join(parts)}. {way}"


def _content(contents: FileDigests, path: str) -> Any:
    """Return what tells the content of a file; of a folder of frames its time of change, None where nothing is there."""
    try:
        return contents.digest(path)
    except OSError:
        status = os.stat(path) if os.path.exists(path) else None
        return status and (status.st_size, status.st_mtime_ns)


def _unusable(field: str, kind: str, item: Any) -> RowProblem:
    return RowProblem(field, show(item), f"the path of a {KINDS[kind]} file", "write the path, or remove the entry")
