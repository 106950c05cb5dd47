"""Builds pictures and rows: lessons for a base and a teacher, rated rows for a critic, pictures to describe, held-out questions."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import write_checkpoint
from ..datasets import SHAREGPT
from . import lessons, rows
from .scenes import SIDE
from .texts import tokenizer_texts


@dataclass(frozen=True)
class Size:
    """How many pictures of each kind are written."""

    base: int
    teacher: int
    rated_train: int
    rated_test: int
    pictures: int
    test: int


SIZES = {
    "small": Size(8, 8, 4, 2, 3, 4),
    "base": Size(4800, 4000, 1600, 150, 300, 200),
}
MAKERS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "base": lessons.base_rows,
    "teacher": lessons.teacher_rows,
    "rated_train": rows.rated_rows,
    "rated_test": rows.rated_rows,
    "pictures": rows.picture_rows,
    "test": rows.test_rows,
}


def build(out: Path, *, seed: int, size: str) -> dict[str, int]:
    """Write the world; the same seed and size write the same bytes.

    Args:
        out: directory to write, made if missing.
        seed: any integer.
        size: `small` or `base`.

    Returns:
        Number of rows per file.

    Raises:
        ValueError: `size` is neither.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r} is unknown; expected one of {sorted(SIZES)}")
    for folder in ("images", "rows"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    files = {}
    for name, make in MAKERS.items():
        rng = random.Random(f"localized-{name}-{seed}")
        files[f"lskd_{name}"] = make(rng, out, name, getattr(SIZES[size], name))
    for name, made in files.items():
        _write_json(out / "rows" / f"{name}.json", made)
    _write_json(out / "dataset_info.json", dataset_info())
    write_checkpoint(out / "tiny", list(tokenizer_texts()), seed, smallest_frame=SIDE)
    return {name: len(made) for name, made in files.items()}


def dataset_info() -> dict[str, dict[str, Any]]:
    """Return every dataset of the world, keyed by the name that `dataset:` takes."""

    def entry(name: str, **more: Any) -> dict[str, Any]:
        return {"file_name": f"rows/lskd_{name}.json"} | more

    region = {"formatting": "region", "region_style": "marks", "target": "answer_rationale"}
    info = {f"lskd_{name}": entry(name, **SHAREGPT) for name in ("base", "teacher")}
    info |= {f"lskd_{name}": entry(name, **region) for name in ("rated_train", "rated_test")}
    return info | {f"lskd_{name}": entry(name, formatting="region") for name in ("pictures", "test")}


def _write_json(path: Path, content: list[Any] | dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
