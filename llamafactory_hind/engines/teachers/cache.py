"""What a model wrote, kept on disk under a digest of everything it depends on: a resumed run gets the hints it had.

One JSON line an entry, in a file of its own for each process: killed at any moment, at most the line under way is lost.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...formats.media.fields import MEDIA_FIELDS
from ...storage.digests import digest_media
from ..interface import Completion, FinishReason, Request, Sampling


class TextCache:
    """Completions by key, of this process and of all that wrote to the folder before it was opened.

    Args:
        folder: made if it is not there.
        process: number of this process; no two that run at a time may have the same.

    Attributes:
        hits: keys that were found.
        unreadable: lines that were cut by a kill.
    """

    def __init__(self, folder: Path, *, process: int) -> None:
        """Read all files, and open the one of this process."""
        folder.mkdir(parents=True, exist_ok=True)
        self.hits = self.unreadable = 0
        self._entries: dict[str, list[Completion]] = {}
        for file in sorted(folder.glob("texts_*.jsonl")):
            self._read(file)
        self._file = open(folder / f"texts_{process}.jsonl", "ab+", buffering=0)  # noqa: SIM115 (held until close)
        end = self._file.seek(0, os.SEEK_END)
        if end and os.pread(self._file.fileno(), 1, end - 1) != b"\n":
            self._file.write(b"\n")  # the line that was cut stays alone

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)

    def find(self, key: str) -> list[Completion] | None:
        """Return what was kept under a key, None if nothing was."""
        found = self._entries.get(key)
        self.hits += found is not None
        return found

    def keep(self, key: str, completions: Sequence[Completion]) -> None:
        """Write an entry; it survives the end of this process once this returns."""
        self._entries[key] = list(completions)
        parts = [[part.text, part.token_ids, part.logprob, part.finish_reason, part.tokens] for part in completions]
        line = json.dumps({"key": key, "result": parts}, ensure_ascii=False) + "\n"
        # half a surrogate pair, as a server may send it, is written as JSON would escape it; one call, so that it is whole
        self._file.write(line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _read(self, file: Path) -> None:
        with open(file, "rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                    self._entries[entry["key"]] = [
                        Completion(text, tuple(ids), logprob, FinishReason(reason), tokens)
                        for text, ids, logprob, reason, tokens in entry["result"]
                    ]
                except (ValueError, KeyError, TypeError):
                    self.unreadable += 1


def text_key(writer: Any, request: Request, sampling: Sampling) -> str:
    """Return a digest of what a text depends on: the model, the conversation, the contents of its media, how it is sampled.

    Args:
        writer: what the model is, as JSON can write it.
        request: its key names the random numbers.
        sampling: with the seed.
    """
    media: Mapping[str, Sequence[Any]] = {kind: getattr(request, kind) for kind in MEDIA_FIELDS}
    asked = {
        "writer": writer,
        "system": request.system,
        "messages": list(request.messages),
        "media": digest_media(media),
        "sampling": vars(sampling),
        "key": request.key,
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
