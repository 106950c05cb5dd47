"""What a family is, and its tiny model: built from a config alone, with weights large enough that a wrong mask shows."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel


PAD, BOS, EOS = 0, 1, 2
FIRST_WORD, LAST_WORD = 5, 85  # ids of words
IMAGE, VIDEO, START, END = 90, 91, 92, 93  # ids of placeholders
VOCABULARY = 96
IMAGE_TOKENS = 4  # a picture
WINDOW = 12  # tokens; every text of the tests is longer

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
}
DROPPED = object()  # a key of `SIZES` that a config does not take
MIXED = {
    "num_hidden_layers": 4,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}


@dataclass(frozen=True, eq=False)  # hashed by identity: results are remembered
class Family:
    """A row of the page.

    Attributes:
        name: as users know it.
        model_type: of transformers.
        config: what differs from `SIZES`; for models with pictures the whole config.
        attention: `flash_attn` of the test, None for what the library picks.
        pictures: how its pictures are given (`rows.PICTURES`), None for a text model.
        features: what its attention has beside a causal mask, for the page.
        padding_counts: padding on the left changes what the library's own `generate` writes; it is left out there.
    """

    name: str
    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    attention: str | None = None
    pictures: str | None = None
    features: str = ""
    padding_counts: bool = False


@torch.no_grad()
def build(family: Family, seed: int = 0) -> PreTrainedModel:
    """Return the tiny model, in float32 and training mode."""
    torch.manual_seed(seed)
    settings = family.config if family.pictures else {**SIZES, **family.config}
    settings = {name: value for name, value in settings.items() if value is not DROPPED}
    config = AutoConfig.for_model(family.model_type, **copy.deepcopy(settings))
    kind = AutoModelForImageTextToText if family.pictures else AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation=family.attention).float()
    for name, parameter in model.named_parameters():
        _fill(name, parameter)
    return model.train()


def _fill(name: str, parameter: torch.Tensor) -> None:
    """Draw weights that make attention sharp: a layer that sees other tokens says something else."""
    if parameter.dim() < 2:
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif "norm" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
        return
    inside = parameter[0].numel() if parameter.dim() > 3 else parameter.shape[-1]  # convolutions, else matrices
    parameter.normal_(std=1.0 if "embed" in name else 1.5 * inside**-0.5)
