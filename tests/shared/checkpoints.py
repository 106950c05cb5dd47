"""Checkpoints made without a model: their files are whole by their formats, and differ by step."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from llamafactory_hind.storage.atomic import write_json
from llamafactory_hind.storage.checkpoints import publish, rotate, seal


RUN = {"stage": "grpo"}


def safetensors(file: Path, numbers: int) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [numbers], "data_offsets": [0, numbers]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(range(256)) * (numbers // 256))


def archive(file: Path, content: str) -> None:
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr(zipfile.ZipInfo("archive/data.pkl"), content * 4000)  # without the time


def fill(folder: Path, step: int) -> None:
    """Write the files of a checkpoint, as a Trainer does."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {})
    safetensors(folder / "model.safetensors", 256 * step)
    archive(folder / "optimizer.pt", f"optimizer {step}")
    archive(folder / "scheduler.pt", "s")
    archive(folder / "rng_state.pth", "r")
    write_json(folder / "trainer_state.json", {"global_step": step})


def save(run: Path, step: int, *, limit: int | None = None) -> None:
    staged = run / ".saving" / f"checkpoint-{step}"
    fill(staged, step)
    seal(staged, step=step, run=RUN)
    publish(staged, run / f"checkpoint-{step}")
    rotate(run, limit=limit, keep=None)


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()
