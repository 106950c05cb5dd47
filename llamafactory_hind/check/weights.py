"""The size of a model from the heads of its files and its configuration: nothing is loaded."""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1}
LARGEST_HEAD = 100 * 2**20


class Weights(NamedTuple):
    """A model as its files hold it.

    Attributes:
        shapes: of its tensors, by name.
        stored: bytes on disk.
    """

    shapes: Mapping[str, tuple[int, ...]]
    stored: int

    @property
    def numbers(self) -> int:
        """How many there are."""
        return sum(map(math.prod, self.shapes.values()))

    def numbers_of(self, parts: Iterable[str]) -> int:
        """How many are in tensors whose name has one of these parts."""
        parts = tuple(parts)
        return sum(math.prod(shape) for name, shape in self.shapes.items() if any(part in name for part in parts))


def stored_weights(folder: Path) -> Weights | None:
    """Return the size of the safetensors files of a folder; None where there are none, or one cannot be read."""
    files = sorted(folder.glob("*.safetensors"))
    shapes: dict[str, tuple[int, ...]] = {}
    stored = 0
    try:
        for file in files:
            with open(file, "rb") as opened:
                (length,) = struct.unpack("<Q", opened.read(8))
                head = json.loads(opened.read(min(length, LARGEST_HEAD)))
            for name, tensor in head.items():
                if name != "__metadata__":
                    shapes[name] = tuple(tensor["shape"])
                    stored += math.prod(tensor["shape"]) * BYTES.get(tensor["dtype"], 4)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    return Weights(shapes, stored) if files else None


class TextSizes(NamedTuple):
    """What the memory of texts depends on.

    Attributes:
        layers: of the language model.
        hidden: width of its states.
        intermediate: width of its MLPs.
        cached: numbers that its cache keeps of a token, of all layers.
    """

    layers: int
    hidden: int
    intermediate: int
    cached: int


def text_sizes(folder: Path) -> TextSizes | None:
    """Return the sizes of a model's language part from its `config.json`; None where they are not there."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text: dict[str, Any] = config.get("text_config") or config.get("llm_config") or config
        layers, hidden, heads = (text[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
        width = text.get("head_dim") or hidden // heads
        keys = text.get("num_key_value_heads") or heads
        return TextSizes(layers, hidden, text["intermediate_size"], 2 * layers * keys * width)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def model_type(folder: Path) -> str | None:
    """Return the `model_type` of a model's configuration; None where it is not there."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return None if found is None else str(found)
