"""Released vision-language models as shapes: their configurations without their weights, which nothing here downloads.

Widths, depths and heads are those of the released `config.json` files; the counts of numbers follow from them.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)


QWEN2_5_VISION = {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32, "num_heads": 16}


def _qwen2_5(hidden: int, intermediate: int, layers: int, heads: int, keys: int, **more: Any) -> Qwen2_5_VLConfig:
    vocabulary = more.pop("vocab_size", 151936)
    text = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": vocabulary,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "max_position_embeddings": 128000,
    }
    return Qwen2_5_VLConfig(text_config=text, vision_config={**QWEN2_5_VISION, "out_hidden_size": hidden}, **more)


def _qwen3(hidden: int, intermediate: int, layers: int, heads: int, vision: Mapping[str, int], **more: Any) -> Any:
    text = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [24, 20, 20]},
    }
    return Qwen3VLConfig(text_config=text, vision_config={**vision, "out_hidden_size": hidden}, **more)


def configurations() -> dict[str, PretrainedConfig]:
    """Return the configuration of each model that a YAML here names, and is not tiny."""
    small = {"hidden_size": 1024, "intermediate_size": 4096, "depth": 24, "num_heads": 16}
    small |= {"deepstack_visual_indexes": [5, 11, 17]}
    large = {"hidden_size": 1152, "intermediate_size": 4304, "depth": 27, "num_heads": 16}
    large |= {"deepstack_visual_indexes": [8, 16, 24]}
    return {
        "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5(2048, 11008, 36, 16, 2, tie_word_embeddings=True),
        "Qwen/Qwen2.5-VL-7B-Instruct": _qwen2_5(3584, 18944, 28, 28, 4, vocab_size=152064, tie_word_embeddings=False),
        "Qwen/Qwen3-VL-2B-Instruct": _qwen3(2048, 6144, 28, 16, small, tie_word_embeddings=True),
        "Qwen/Qwen3-VL-32B-Instruct": _qwen3(5120, 25600, 64, 64, large, tie_word_embeddings=False),
    }


def build(config: PretrainedConfig) -> PreTrainedModel:
    """Return a model of a configuration on the device that is the default one; random weights, `meta` has none."""
    kinds = {"qwen2_5_vl": Qwen2_5_VLForConditionalGeneration, "qwen3_vl": Qwen3VLForConditionalGeneration}
    return kinds[config.model_type](config)


def write_heads(name: str, folder: Path) -> int:
    """Write what `llamafactory-cli check` reads of a model, `config.json` and the head of one file; return its numbers."""
    config = configurations()[name]
    with torch.device("meta"):
        model = build(config)
    tensors = {
        key: tuple(value.shape) for key, value in model.named_parameters()
    }  # tied ones once, as they are stored
    head = json.dumps({key: {"dtype": "BF16", "shape": list(shape)} for key, shape in tensors.items()}).encode()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    config.save_pretrained(folder)
    return sum(value.numel() for value in model.parameters())
