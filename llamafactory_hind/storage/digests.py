"""What a file, a folder or a medium is, in a few letters: a retrained adapter at an old path must not find old results."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .clip_names import files_of, is_clip, parse_clip


LARGE = 64 * 2**20  # [ours] bytes above which size and time of change stand for the content
DRAWING = "#region="  # between the path of a picture and what is drawn on it when it is opened


def split_drawing(path: str) -> tuple[str, str | None]:
    """Return the path of a picture, and what is drawn on it as JSON; None where nothing is."""
    path, mark, drawing = path.partition(DRAWING)
    return path, drawing if mark else None


@cache
def digest_path(path: str) -> str:
    """Return a digest of a file, or of all files of a folder; a name that is no path (a hub name) stands for itself.

    A picture with a drawing is told apart by both.
    """
    path, drawing = split_drawing(path)
    if drawing is not None:
        return f"{digest_path(path)}-{hashlib.sha256(drawing.encode()).hexdigest()[:16]}"
    root = Path(path)
    if not root.exists():
        return _digest_clip(path) if is_clip(path) else path
    digest = hashlib.sha256()
    files = [root] if root.is_file() else sorted(entry for entry in root.rglob("*") if entry.is_file())
    for file in files:
        if any(part.startswith(("checkpoint-", ".")) for part in file.relative_to(root).parts):
            continue  # of the training that made it, not of the model
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(_content(file))
    return digest.hexdigest()[:16]


def digest_media(media: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Return the content name of each medium of a row, of all kinds in turn; frames of a clip are named one by one."""
    return [medium_name(item) for items in media.values() for item in items]


def medium_name(medium: Any, *, path: Callable[[str], Any] = digest_path, shaped: bool = True) -> Any:
    """Return what tells a medium apart, as JSON can write it.

    Args:
        medium: a path, encoded bytes, a decoded picture (anything with `tobytes`), or a list or
            mapping of those (frames of a clip; `path` and `bytes` of the `datasets` library).
        path: what a path is called: by its content, or `str` where the path itself is enough.
        shaped: equal pixels of another size or mode are another picture; False leaves both out.

    Returns:
        SHA-256 of bytes and pixels; a list or dict of names for a list or mapping; `repr` of
        anything else.
    """
    if isinstance(medium, list | tuple):
        return [medium_name(part, path=path, shaped=shaped) for part in medium]
    if isinstance(medium, Mapping):
        return {key: medium_name(part, path=path, shaped=shaped) for key, part in medium.items()}
    if isinstance(medium, str):
        return path(medium)
    if hasattr(medium, "tobytes"):
        looks = tuple(getattr(medium, name, None) for name in ("mode", "size", "shape")) if shaped else None
        return hashlib.sha256((repr(looks).encode() if shaped else b"") + medium.tobytes()).hexdigest()
    return hashlib.sha256(medium).hexdigest() if isinstance(medium, bytes) else repr(medium)


def _digest_clip(name: str) -> str:
    """Return a digest of the files that a clip is made of and of the part that it shows, wherever they lie."""
    files = [digest_path(file) for file in files_of(name)]
    return hashlib.sha256("\0".join([*files, parse_clip(name).fragment]).encode()).hexdigest()[:16]


def _content(file: Path) -> bytes:
    status = file.stat()
    if status.st_size > LARGE:
        return f"{status.st_size}/{status.st_mtime_ns}".encode()
    return hashlib.sha256(file.read_bytes()).digest()
