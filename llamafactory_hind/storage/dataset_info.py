"""Entries of `dataset_info.json`: read, checked before they are written, and added without touching others."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.problem import ConfigError, Problem
from .atomic import write_text
from .locks import wait_for
from .outputs import INFO, is_ours, same_file


def read_info(dataset_dir: Path) -> dict[str, Any]:
    """Return the entries of a folder; none where there is no file, or one that somebody else must complain about."""
    try:
        info = json.loads((dataset_dir / INFO).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def file_of(dataset_dir: Path, entry: Any) -> Path | None:
    """Return the local file or folder of an entry, None where it has none."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    return dataset_dir / name if isinstance(name, str) and name else None


def entry_problems(
    key: str, dataset_dir: Path, names: Sequence[str], files: Sequence[Path], *, by: str, own: bool
) -> Iterator[Problem]:
    """Find what registering outputs would take from others.

    Args:
        key: of the configuration, that gives the name.
        dataset_dir: folder of `dataset_info.json`.
        names: to register.
        files: of the outputs.
        by: which command registers.
        own: the first of the files is there and this command wrote it.
    """
    for name, entry in read_info(dataset_dir).items():
        file = file_of(dataset_dir, entry)
        is_output = file is not None and any(same_file(file, output) for output in files)
        if name in names and not is_output and not (file is not None and is_ours(file, by=by)):
            shown = "another data set" if file is None else f"{file}"
            remedy = f"That name belongs to {shown} in {dataset_dir / INFO}; give another one."
            yield Problem(key, name, "a name that is free", remedy)
        if name not in names and is_output and not own:
            yield Problem(
                "output", str(file), "a file of its own", f"It belongs to the data set `{name}`; give another."
            )


def register(dataset_dir: Path, name: str, entry: Mapping[str, Any], file: Path, *, by: str | None = None) -> None:
    """Put a dataset into `dataset_info.json`; other entries, their order and the indentation stay.

    Args:
        dataset_dir: folder of `dataset_info.json`, which exists.
        name: the dataset's name; an entry of that name is replaced.
        entry: formatting, columns …; `file_name` is added, relative to `dataset_dir`.
        file: the dataset's file.
        by: the command that registers: an entry is then replaced only if it is of this file, or of another that it wrote.

    Raises:
        ConfigError: the name belongs to somebody else's file.
        WriteRefused: the disk is full, read-only or failed; `dataset_info.json` is as it was.
    """
    info_file = dataset_dir / INFO
    with wait_for(dataset_dir / ".dataset_info.lock"):  # two runs may end at the same moment
        text = info_file.read_text(encoding="utf-8-sig")
        info = json.loads(text)
        told = {"file_name": Path(os.path.relpath(file, dataset_dir)).as_posix(), **entry}
        if by is not None and name in info and not _is_own(dataset_dir, info[name], told, by):
            remedy = f"{file} is written; register it by hand, or start again with another name."
            raise ConfigError([Problem("dataset_info.json", name, "a name that is free", remedy)])
        info[name] = told
        indent = re.match(r"\{\s*\n(\s+)", text)
        write_text(info_file, json.dumps(info, indent=len(indent[1]) if indent else 2, ensure_ascii=False) + "\n")


def _is_own(dataset_dir: Path, before: Any, now: Mapping[str, Any], by: str) -> bool:
    """Whether a command may replace an entry."""
    old, new = file_of(dataset_dir, before), file_of(dataset_dir, now)
    return old is not None and new is not None and (same_file(old, new) or is_ours(old, by=by))
