"""What a file or folder is, in a few letters: a retrained adapter at an old path must not find old results."""

import hashlib
from functools import cache
from pathlib import Path


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


def _content(file: Path) -> bytes:
    status = file.stat()
    if status.st_size > LARGE:
        return f"{status.st_size}/{status.st_mtime_ns}".encode()
    return hashlib.sha256(file.read_bytes()).digest()
