"""Files at one stroke: a reader sees the old content or the new one, and a kill or a full disk leaves the old one.

A file is written under another name in the same folder, synced, and renamed. It gets the permissions that
the folder's umask gives; one that replaces another keeps the permissions of that one. A link stays a link.
"""

import errno
import itertools
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EFBIG: "the file is larger than is allowed here",
    errno.EIO: "the disk failed",
}
# libraries that write in C++ or Rust raise errors of their own, without an errno
_ERRNO = re.compile(r"os error (\d+)|\[Errno (\d+)\]")
_FAILED_WRITE = re.compile(r"file write failed|No space left on device|iostream error|PytorchStreamWriter failed")
ABANDONED_AFTER = 3600  # [ours] seconds without a change, after which a half-written file belongs to a killed run


class WriteRefused(OSError):
    """The disk refused a file; what was there before is intact."""


def refusal_of(error: BaseException) -> str | None:
    """Return why a disk refused to write, in a few words; None where an error says no such thing."""
    if isinstance(error, WriteRefused):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return REFUSALS[error.errno]
    found = _ERRNO.search(str(error))
    if found and int(found[1] or found[2]) in REFUSALS:
        return REFUSALS[int(found[1] or found[2])]
    return "the disk is full, or refused to write" if _FAILED_WRITE.search(str(error)) else None


def told(error: BaseException, path: Path) -> BaseException:
    """Return an error as `WriteRefused` if a disk said no, else as it is."""
    reason = refusal_of(error)
    if reason is None or isinstance(error, WriteRefused):
        return error
    return WriteRefused(
        f"{path}: not written, {reason}. What was there before is as it was. "
        "Make room or give another folder, and start the same command again."
    )


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give the path of a file to write; when the block ends well it takes the place of `path`.

    Args:
        path: its folder is made if it is not there; where it is a link, the file that it leads to is replaced.

    Raises:
        WriteRefused: the disk is full, read-only or failed; `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    beside = f".{target.stem}.{os.getpid()}.writing{target.suffix}"
    temporary = target.with_name(beside)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        yield temporary
        sync(temporary)
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
        sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        mended = told(error, path)
        if mended is error:
            raise
        raise mended from error


def _remove_abandoned(target: Path) -> None:
    """Take away what a killed run had half written for `target`."""
    for file in target.parent.glob(f".{glob_safe(target.stem)}.*.writing{glob_safe(target.suffix)}"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED_AFTER:
                file.unlink()


def glob_safe(text: str) -> str:
    """Return a text whose brackets and stars a glob takes as they are."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def write_text(path: Path, text: str) -> None:
    """Replace a text file; half a surrogate pair is written as its escape.

    Raises:
        WriteRefused: see `replaced`.
    """
    write_parts(path, [text])


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Replace a text file by parts that need not be in memory together.

    Raises:
        WriteRefused: see `replaced`.
    """
    with replaced(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(parts)


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Replace a JSON file.

    Raises:
        WriteRefused: see `replaced`.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by bytes.

    Raises:
        WriteRefused: see `replaced`.
    """
    write_by(path, lambda temporary: temporary.write_bytes(content))


def write_by(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file by what a function writes to the path it is given, which has the same ending.

    Raises:
        WriteRefused: see `replaced`.
    """
    with replaced(path) as temporary:
        write(temporary)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; not every file system can."""
    with suppress(OSError):
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def sync_tree(folder: Path) -> None:
    """Wait until all files in and below a folder, and their names, are on the disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(root) / name)
        sync_folder(Path(root))


def put_aside(path: Path, ending: str) -> Path:
    """Rename a file or folder to its name with an ending, numbered where that is taken; return the new path."""
    first = path.with_name(path.name + ending)
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(1))
    aside = next(name for name in itertools.chain([first], numbered) if not name.exists())
    os.rename(path, aside)
    return aside


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
