"""Entries of `dataset_info.json`."""

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import write_text


def register(dataset_dir: Path, name: str, entry: Mapping[str, Any], file: Path) -> None:
    """Put a dataset into `dataset_info.json`; other entries, their order and the indentation stay.

    Args:
        dataset_dir: folder of `dataset_info.json`, which exists.
        name: the dataset's name; an entry of that name is replaced.
        entry: formatting, columns …; `file_name` is added, relative to `dataset_dir`.
        file: the dataset's file.
    """
    info_file = dataset_dir / "dataset_info.json"
    with open(dataset_dir / ".dataset_info.lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may end at the same moment
        text = info_file.read_text(encoding="utf-8")
        info = json.loads(text)
        info[name] = {"file_name": Path(os.path.relpath(file, dataset_dir)).as_posix(), **entry}
        indent = re.match(r"\{\s*\n(\s+)", text)
        write_text(info_file, json.dumps(info, indent=len(indent[1]) if indent else 2, ensure_ascii=False) + "\n")
