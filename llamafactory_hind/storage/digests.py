"""What a file, a folder or a medium is, in a few letters: a retrained adapter at an old path must not find old results."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


LARGE = 64 * 2**20  # [ours] bytes above which size and time of change stand for the content


@cache
def digest_path(path: str) -> str:
    """Return a digest of a file, or of all files of a folder; a name that is no path (a hub name) stands for itself."""
    root = Path(path)
    if not root.exists():
        return path
    digest = hashlib.sha256()
    files = [root] if root.is_file() else sorted(entry for entry in root.rglob("*") if entry.is_file())
    for file in files:
        if any(part.startswith(("checkpoint-", ".")) for part in file.relative_to(root).parts):
            continue  # of the training that made it, not of the model
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(_content(file))
    return digest.hexdigest()[:16]


def digest_media(media: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Return a digest of each medium of a row, of all kinds in turn; frames of a clip are digested one by one."""
    return [_digest_item(item) for items in media.values() for item in items]


def _digest_item(item: Any) -> Any:
    if isinstance(item, list | tuple):
        return [_digest_item(part) for part in item]
    if isinstance(item, Mapping):
        return {key: _digest_item(part) for key, part in item.items()}
    if isinstance(item, str):
        return digest_path(item)
    if hasattr(item, "tobytes"):  # a decoded picture: equal bytes may be another shape
        shape = repr((getattr(item, "mode", None), getattr(item, "size", None), getattr(item, "shape", None)))
        return hashlib.sha256(shape.encode() + item.tobytes()).hexdigest()
    return hashlib.sha256(item).hexdigest() if isinstance(item, bytes) else repr(item)


def _content(file: Path) -> bytes:
    status = file.stat()
    if status.st_size > LARGE:
        return f"{status.st_size}/{status.st_mtime_ns}".encode()
    return hashlib.sha256(file.read_bytes()).digest()
