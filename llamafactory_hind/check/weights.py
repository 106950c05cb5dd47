"""The size of a model from the heads of its files: nothing is loaded."""

import json
import math
import struct
from pathlib import Path
from typing import NamedTuple


BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1}
LARGEST_HEAD = 100 * 2**20


class Weights(NamedTuple):
    """Numbers in a model, and their bytes as stored."""

    numbers: int
    stored: int


def stored_weights(folder: Path) -> Weights | None:
    """Return the size of the safetensors files of a folder; None where there are none, or one cannot be read."""
    files = sorted(folder.glob("*.safetensors"))
    numbers = stored = 0
    try:
        for file in files:
            with open(file, "rb") as opened:
                (length,) = struct.unpack("<Q", opened.read(8))
                head = json.loads(opened.read(min(length, LARGEST_HEAD)))
            for name, tensor in head.items():
                if name != "__metadata__":
                    count = math.prod(tensor["shape"])
                    numbers += count
                    stored += count * BYTES.get(tensor["dtype"], 4)
    except (OSError, ValueError, KeyError, struct.error):
        return None
    return Weights(numbers, stored) if files else None
