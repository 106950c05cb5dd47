"""What a model wrote, kept on disk under a digest of everything it depends on: a resumed run gets the hints it had.

A journal for each process: killed at any moment, at most the line under way is lost.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...formats.media.fields import MEDIA_FIELDS
from ...storage.completions import pack_completions, unpack_completions
from ...storage.digests import digest_media
from ...storage.journal import Journal
from ..interface import Completion, Request, Sampling, kept_completion


class TextCache:
    """Completions by key, of this process and of all that wrote to the folder before it was opened.

    Args:
        folder: made if it is not there.
        process: number of this process; no two that run at a time may have the same.
    """

    def __init__(self, folder: Path, *, process: int) -> None:
        """Read all files, and open the one of this process.

        Raises:
            JournalInUse: another process of that number writes here.
        """
        own = folder / f"texts_{process}.jsonl"
        self._journal = Journal(own)
        self._others: dict[str, Any] = {}
        for file in sorted(folder.glob("texts_*.jsonl")):
            if file != own:
                with Journal(file, writable=False) as journal:
                    self._others.update(journal.results)

    def find(self, key: str) -> list[Completion] | None:
        """Return what was kept under a key, None if nothing was."""
        kept = self._journal.results if key in self._journal.results else self._others
        return unpack_completions(kept[key], kept_completion) if key in kept else None

    def keep(self, key: str, completions: Sequence[Completion]) -> None:
        """Write an entry; it is on the disk once this returns.

        Raises:
            JournalBroken: the disk is full or failed.
        """
        self._journal.add([(key, None, pack_completions(completions))])

    def close(self) -> None:
        """Release the file."""
        self._journal.close()


def text_key(writer: Any, request: Request, sampling: Sampling) -> str:
    """Return a digest of what a text depends on: the model, the conversation, the contents of its media, how it is sampled.

    Args:
        writer: what the model is, as JSON can write it.
        request: its key names the random numbers.
        sampling: with the seed.
    """
    asked = {
        "writer": writer,
        "system": request.system,
        "messages": list(request.messages),
        "media": digest_media({kind: getattr(request, kind) for kind in MEDIA_FIELDS}),
        "sampling": vars(sampling),
        "key": request.key,
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
