"""Whether files of models and training states are whole, read from their first and last bytes; no torch."""

import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config.problem import Problem


INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
TORCH = {".pt", ".pth", ".bin"}
HEADER_LIMIT = 100 * 2**20  # of the format


def damage_of(file: Path) -> str | None:
    """Return what is wrong with a file of weights, states or settings, None for one that is whole or of another kind."""
    size = file.stat().st_size
    if file.suffix == ".safetensors":
        return "is empty" if not size else _safetensors_damage(file, size)
    if file.suffix in TORCH:
        if not size:
            return "is empty"
        return _archive_damage(file)
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError:
            return "is no whole JSON"
    return None


def _safetensors_damage(file: Path, size: int) -> str | None:
    """The format: 8 bytes with the length of a JSON header, the header, the tensors in the places that it names."""
    with open(file, "rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, size):
            return "is cut"
        try:
            header = json.loads(opened.read(length))
            end = max(
                (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "has a damaged header"
    return None if size == 8 + length + end else "is cut"


def _archive_damage(file: Path) -> str | None:
    """`torch.save` writes a ZIP archive, whose directory stands at its end; older versions wrote a pickle."""
    with open(file, "rb") as opened:
        first = opened.read(2)
    if first == b"\x80\x02":  # a pickle of an old version says nothing of its length
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if not any(entry.filename.endswith("data.pkl") for entry in entries):
                return "holds no data"
    except (zipfile.BadZipFile, OSError, ValueError):
        return "is cut"
    return None


def missing_parts(folder: Path, *, whole_set: bool) -> Iterator[str]:
    """Yield what a checkpoint lacks.

    Args:
        folder: of the checkpoint.
        whole_set: also ask for optimizer, scheduler and random numbers, which `save_only_model` leaves out.
    """
    names = {entry.name for entry in folder.iterdir()}
    if "trainer_state.json" not in names:
        yield "trainer_state.json is missing"
    sharded = [name for name in names if name.startswith(("global_step", "pytorch_model_fsdp"))]
    adapters = [entry for entry in folder.iterdir() if entry.is_dir() and (entry / "adapter_config.json").is_file()]
    if not names & {*WEIGHTS, *INDEXES} and not sharded and not adapters:
        yield "it has no file of weights"
    for index in INDEXES:
        if index in names:
            yield from _missing_shards(folder, folder / index)
    if names & {"adapter_model.safetensors", "adapter_model.bin"} and "adapter_config.json" not in names:
        yield "adapter_config.json is missing"
    if names & {"model.safetensors", "pytorch_model.bin"} and "config.json" not in names:
        yield "config.json is missing"
    if whole_set:
        yield from (f"{name} is missing" for name in missing_state(folder))


def missing_state(folder: Path) -> list[str]:
    """Return the files that a checkpoint of weights alone lacks (`save_only_model`): without them no run goes on exactly."""
    names = {entry.name for entry in folder.iterdir()}
    sharded = any(name.startswith(("global_step", "pytorch_model_fsdp")) for name in names)
    wanted = () if sharded else ("optimizer.pt", "scheduler.pt")
    missing = [name for name in wanted if name not in names]
    return missing if any(name.startswith("rng_state") for name in names) else [*missing, "rng_state.pth"]


def weights_alone(checkpoint: Path, missing: Sequence[str], key: str) -> Problem:
    """Return what is wrong with going on from weights alone."""
    got = f"{checkpoint}, weights alone (`save_only_model: true`): {', '.join(missing)} missing"
    key_of_weights = "adapter_name_or_path" if (checkpoint / "adapter_config.json").is_file() else "model_name_or_path"
    remedy = f"Start a new run from its weights: `{key_of_weights}: {checkpoint}` and another `output_dir`."
    return Problem(key, got, "a checkpoint that a run can go on from exactly", remedy)


def _missing_shards(folder: Path, index: Path) -> Iterator[str]:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        yield f"{index.name} is damaged"
        return
    yield from (f"{shard} is missing" for shard in shards if not (folder / shard).is_file())
