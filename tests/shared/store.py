"""Worlds and checkpoints that tests only read: built once for all files, workers and runs, and kept below `build/`."""

import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock


ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "build" / "test_worlds"
WRITERS = ("torch", "transformers", "tokenizers", "llamafactory", "av", "Pillow")
FORGOTTEN_AFTER = 86400.0  # seconds without use


@functools.cache
def digest() -> str:
    """Return what a kept folder follows from: the package, these set-up files and the libraries that write them."""
    found = hashlib.sha256(sys.version.encode())
    for name in WRITERS:
        found.update(f"{name} {version(name)}\n".encode())
    for folder in (ROOT / "llamafactory_hind", Path(__file__).parent):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".jinja"):
                found.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def kept(name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder `name` of the store, which `build(folder)` fills where no run has done so yet.

    It is filled under another name and renamed at one stroke, so that a killed run leaves no half of it.
    """
    home = STORE / digest()
    home.mkdir(parents=True, exist_ok=True)
    os.utime(home)
    place = home / name
    with FileLock(home / f"{name}.lock"):
        for left in home.glob(f"{name}.part-*"):  # of a killed run: this process alone may build now
            shutil.rmtree(left)
        if not place.is_dir():
            _forget_old(home)
            scratch = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=home))
            build(scratch)
            scratch.rename(place)
    return place


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file, to see that nobody wrote into a folder that all share."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _forget_old(home: Path) -> None:
    for other in STORE.iterdir():
        if other != home and time.time() - other.stat().st_mtime > FORGOTTEN_AFTER:
            shutil.rmtree(other, ignore_errors=True)
