"""Checkpoints of a run on disk: whole or not there, told by what is written in them.

A checkpoint is written as `.saving/checkpoint-N`, sealed by a list of its files, synced, and renamed to `checkpoint-N`
at one stroke. One without a list (of the host, of an earlier version, made by hand) is judged by its files alone.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import remove, sync_folder, sync_tree, write_json
from .weights import damage_of, missing_parts


SEAL = "hind_checkpoint.json"
STATE = "trainer_state.json"
SAVING, REMOVING, REPLACED = ".saving", ".removing", ".replaced"  # folders of a run that hold no checkpoint of it
NAME = re.compile(r"checkpoint-(\d+)")
BINARY = {".safetensors", ".pt", ".pth", ".bin"}  # files whose content is compared; texts may be edited
BLOCKS, BLOCK = 64, 4096  # [ours] places at which a large file is compared, and their bytes


@dataclass(frozen=True)
class Found:
    """What a folder holds to go on from.

    Attributes:
        newest: the newest whole checkpoint, None without one.
        left_out: newer ones that are not whole, newest first, and why.
    """

    newest: Path | None
    left_out: tuple[tuple[Path, str], ...]


def step_of(checkpoint: Path) -> int:
    """Return the N of `checkpoint-N`, -1 for another name."""
    found = NAME.fullmatch(checkpoint.name)
    return int(found[1]) if found else -1


def checkpoints(folder: Path) -> list[Path]:
    """Return the folders `checkpoint-N`, newest first, whole or not."""
    if not folder.is_dir():
        return []
    named = [entry for entry in folder.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir()]
    return sorted(named, key=step_of, reverse=True)


def find_whole(folder: Path) -> Found:
    """Look for the newest checkpoint that is whole."""
    left_out: list[tuple[Path, str]] = []
    for checkpoint in checkpoints(folder):
        reason = fault_of(checkpoint)
        if reason is None:
            return Found(checkpoint, tuple(left_out))
        left_out.append((checkpoint, reason))
    return Found(None, tuple(left_out))


def fault_of(checkpoint: Path) -> str | None:
    """Return why a checkpoint cannot be gone on from, None where it is whole."""
    if not checkpoint.is_dir():
        return "there is no such folder"
    sealed = read_seal(checkpoint)
    if sealed is None and (checkpoint / SEAL).exists():
        return f"{SEAL} is damaged"
    return next(_faults(checkpoint, sealed), None)


def _faults(checkpoint: Path, sealed: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what is wrong, cheap looks first."""
    for name, kept in (sealed or {}).get("files", {}).items():
        file = checkpoint / name
        if not file.is_file():
            yield f"{name} is missing"
        elif file.suffix in BINARY and file.stat().st_size != kept["size"]:
            yield f"{name} has {file.stat().st_size:,} bytes of {kept['size']:,}"
    yield from missing_parts(checkpoint, whole_set=sealed is None)
    for file in sorted(checkpoint.rglob("*")):
        if file.is_file() and (reason := damage_of(file)):
            yield f"{file.relative_to(checkpoint)} {reason}"
    yield from _wrong_step(checkpoint)
    for name, kept in (sealed or {}).get("files", {}).items():
        if kept.get("digest") not in (None, sample_digest(checkpoint / name)):
            yield f"{name} has another content than was saved"


def _wrong_step(checkpoint: Path) -> Iterator[str]:
    try:
        step = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        yield f"{STATE} is damaged"
        return
    if step_of(checkpoint) not in (-1, step):
        yield f"{STATE} is of step {step}"


def read_seal(checkpoint: Path) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself (`step`, `run`, `files`), None where it says nothing that can be read."""
    try:
        sealed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        return sealed if isinstance(sealed["files"], dict) and isinstance(sealed["run"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def processes_of(checkpoint: Path) -> int | None:
    """Return how many processes wrote a checkpoint, None where it does not say; each keeps the state of its random numbers."""
    told = ((read_seal(checkpoint) or {}).get("run") or {}).get("processes")
    if isinstance(told, int):
        return told
    if (checkpoint / "rng_state.pth").is_file():
        return 1
    return len(list(checkpoint.glob("rng_state_*.pth"))) or None


def seal(folder: Path, *, step: int, run: Mapping[str, Any]) -> None:
    """List the files of a checkpoint that is complete, and wait until all of it is on the disk.

    Args:
        folder: in which nobody writes any more.
        step: of the run.
        run: what the run is, see `runs`.
    """
    files = {
        file.relative_to(folder).as_posix(): {
            "size": file.stat().st_size,
            "digest": sample_digest(file) if file.suffix in BINARY else None,
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != SEAL
    }
    write_json(folder / SEAL, {"format": 1, "step": step, "run": dict(run), "files": files})
    sync_tree(folder)


def sample_digest(file: Path) -> str:
    """Return a digest of a file's content, of blocks that are spread over it where it is large."""
    size = file.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(file, "rb") as opened:
        if size <= BLOCKS * BLOCK:
            digest.update(opened.read())
            return digest.hexdigest()
        for number in range(BLOCKS):
            opened.seek((size - BLOCK) * number // (BLOCKS - 1))
            digest.update(opened.read(BLOCK))
    return digest.hexdigest()


def publish(staged: Path, final: Path) -> None:
    """Rename a sealed folder to its name; one that is there already gives way.

    A kill between the two renames leaves the old one in `.replaced`, from which `tidy` brings it back.

    Raises:
        FileNotFoundError: there is no such staged folder; nothing was changed.
    """
    if not staged.is_dir():
        raise FileNotFoundError(staged)
    aside = final.parent / REPLACED / final.name
    if final.exists():
        remove(aside)
        aside.parent.mkdir(exist_ok=True)
        os.rename(final, aside)
    os.rename(staged, final)
    sync_folder(final.parent)
    remove(aside.parent)
    with suppress(OSError):
        staged.parent.rmdir()


def tidy(folder: Path) -> None:
    """Take away what a killed run left of a save or a removal, and bring back what it had moved aside."""
    for aside in checkpoints(folder / REPLACED):
        if not (folder / aside.name).exists() and fault_of(aside) is None:
            os.rename(aside, folder / aside.name)
    for name in (SAVING, REMOVING, REPLACED):
        remove(folder / name)


def rotate(folder: Path, *, limit: int | None, keep: Path | None) -> list[Path]:
    """Remove the oldest whole checkpoints above a limit, each at one stroke; return those removed.

    The newest whole one always stays, and so does what is not whole: it is not counted.

    Args:
        folder: of the run.
        limit: how many stay; None or 0 keeps all.
        keep: one that stays as well, the best.
    """
    if not limit or limit < 0:
        return []
    whole = [one for one in checkpoints(folder) if fault_of(one) is None]  # newest first
    kept = {one.name for one in whole[:1]} | ({keep.name} if keep is not None else set())
    spare = [one for one in whole if one.name not in kept]
    removed = spare[max(0, limit - len([one for one in whole if one.name in kept])) :]
    for one in reversed(removed):
        (folder / REMOVING).mkdir(exist_ok=True)
        os.rename(one, folder / REMOVING / one.name)
        remove(folder / REMOVING)
    return removed
