"""How far each kind of layer looks, read from a model's config, and which models a packed row can be modelled for.

The rules are those of `transformers.masking_utils` and of the mask functions of Gemma 3 and PaliGemma (read at 5.6).
"""

import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from .scoring import base_model


ALL_LAYERS = "all"  # the name of the one kind of a model whose config has no `layer_types`
KIND_LISTS = ("layer_types", "layers_block_type", "attention_layers")  # where configs say what a layer is
PLAIN_KINDS = {"full_attention", "attention", "global"}
SLIDING, CHUNKED = "sliding_attention", "chunked_attention"
MASKS = "transformers.masking_utils"  # since 4.53
OWN_MASKS = ("sdpa", "eager")  # attention implementations that add a 4-D mask


@dataclass(frozen=True)
class AttentionKind:
    """What a layer sees of the text before a token.

    Attributes:
        window: only the last `window` tokens, itself among them; None without a limit.
        chunk: only tokens of its own chunk of `chunk` tokens, counted from the start of the text.
    """

    window: int | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class MediaIds:
    """An input that says which tokens are media that see each other within a picture, later ones too.

    Attributes:
        name: the input (N, T).
        media: its value for such a token.
        text: its value for every other token.
    """

    name: str
    media: int
    text: int


MEDIA_IDS = {  # model_type -> its rule
    "gemma3": MediaIds("token_type_ids", media=1, text=0),
    "paligemma": MediaIds("token_type_ids", media=0, text=1),
}


def text_config(model: torch.nn.Module) -> Any:
    """Return the config of the language model inside."""
    config = base_model(model).config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def takes_additive_mask(model: torch.nn.Module) -> bool:
    """Return whether a mask of one's own is added to the scores (`eager`) instead of saying true and false."""
    return getattr(text_config(model), "_attn_implementation", "sdpa") == "eager"


def media_ids(model: torch.nn.Module) -> MediaIds | None:
    """Return how the inputs of this model mark bidirectional media, None for a model that has none."""
    return MEDIA_IDS.get(getattr(base_model(model).config, "model_type", ""))


def attention_kinds(model: torch.nn.Module) -> dict[str, AttentionKind]:
    """Return what each kind of layer sees.

    Returns:
        Names of `layer_types` -> kind; one entry `ALL_LAYERS` where the config has no such list.
    """
    text = text_config(model)
    kinds = {SLIDING: AttentionKind(window=_window(text)), CHUNKED: AttentionKind(chunk=_chunk(text))}
    names = getattr(text, "layer_types", None)
    if not names:
        return {ALL_LAYERS: AttentionKind(_window(text), _chunk(text))}
    return {name: kinds.get(name, AttentionKind()) for name in sorted(set(names))}


def why_not_packed(model: torch.nn.Module) -> str | None:
    """Return why this model cannot take a packed row with masks of its own, None if nothing speaks against it.

    The config and the signature of `forward` are asked, no data: a short row would not show a window.
    """
    attention = getattr(text_config(model), "_attn_implementation", None)
    if attention not in OWN_MASKS:
        return f"attention `{attention}` takes no mask of one's own (use `flash_attn: sdpa`)"
    return _why_not_attention(model) or _why_not_positions(model) or _why_not_kinds(model)


def why_not_repeated(model: torch.nn.Module) -> str | None:
    """Return why the cache of a prompt cannot be repeated for its completions, None if nothing speaks against it."""
    return "it has layers with a state, which no cache repeats" if _is_stateful(model) else None


def why_not_cached(model: torch.nn.Module) -> str | None:
    """Return why completions scored behind a repeated cache would not equal rows with their own prompt."""
    return why_not_repeated(model) or _why_not_scaled(model) or _why_not_media(model) or _why_not_padded(model)


def _is_stateful(model: torch.nn.Module) -> bool:
    """Return whether the library says that layers keep a state that sums up all tokens before."""
    return bool(getattr(base_model(model), "_is_stateful", False))


def _why_not_attention(model: torch.nn.Module) -> str | None:
    """Return what the model has beside causal self-attention."""
    inner, text = base_model(model), text_config(model)
    if getattr(inner.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    names = {name for key in KIND_LISTS for name in getattr(text, key, None) or ()}
    unknown = sorted(map(str, names - PLAIN_KINDS - {SLIDING, CHUNKED}))
    if unknown:
        return f"layers of kind {unknown} look past a mask"
    if _is_stateful(model):
        return "it has layers with a state, which look past a mask"
    if not getattr(text, "num_attention_heads", None) or hasattr(text, "ssm_cfg"):
        return "it is not an attention model"
    if getattr(text, "cross_attention_layers", None):
        return "it attends across to its pictures (`cross_attention_layers`), with a mask of its own"
    bidirectional = getattr(text, "use_bidirectional_attention", None) and media_ids(model) is None
    if bidirectional or getattr(text, "is_causal", True) is False:
        return "its attention is not causal (`use_bidirectional_attention`)"
    return None


def _why_not_positions(model: torch.nn.Module) -> str | None:
    """Return what makes the model count places in the row: the second text of a row stands further back than alone."""
    inner, text = base_model(model), text_config(model)
    nested = getattr(text, "attn_config", None)
    if getattr(text, "alibi", False) or getattr(nested, "alibi", False):
        return "ALiBi counts places in the row, not positions"
    if "position_ids" not in inspect.signature(type(inner).forward).parameters:
        return f"{type(inner).__name__} takes no `position_ids`"
    return _why_not_scaled(model)


def _why_not_scaled(model: torch.nn.Module) -> str | None:
    """Llama 4 scales its queries by their place in the row, padding on the left included."""
    text = text_config(model)
    no_rope = [rope for rope in getattr(text, "no_rope_layers", None) or () if not rope]
    if no_rope and getattr(text, "attn_temperature_tuning", False):
        return "`attn_temperature_tuning` counts places in the row, not positions"
    return None


def _why_not_media(model: torch.nn.Module) -> str | None:
    """Transformers 4 has other rules for bidirectional media, a new one every few months."""
    if media_ids(model) is not None and int(transformers.__version__.partition(".")[0]) < 5:
        return "its bidirectional media need transformers 5"
    return None


def _why_not_padded(model: torch.nn.Module) -> str | None:
    """Before 4.57 chunks were counted from the start of the row, padding on the left included."""
    if all(kind.chunk is None for kind in attention_kinds(model).values()):
        return None
    if importlib.util.find_spec(MASKS) is not None:
        overlay = importlib.import_module(MASKS).chunked_overlay
        if "left_padding" in inspect.signature(overlay).parameters:
            return None
    return "its chunks count padding before transformers 4.57"


def _why_not_kinds(model: torch.nn.Module) -> str | None:
    """Return why its windows, chunks or bidirectional media cannot be put into masks."""
    kinds = attention_kinds(model)
    limits = {SLIDING: "window", CHUNKED: "chunk"}
    for name in kinds.keys() & limits.keys():
        if getattr(kinds[name], limits[name]) is None:
            return f"its config has layers of kind `{name}` but does not say how far they look"
    limited = any(kind != AttentionKind() for kind in kinds.values())
    if not limited and media_ids(model) is None:
        return None
    if importlib.util.find_spec(MASKS) is None:
        return "its windows or chunks need transformers 4.53 or newer"  # the layers cut masks by places there
    if not any(base.__module__.startswith("transformers.models.") for base in type(base_model(model)).__mro__):
        return "it is code from a hub, and how its windows, chunks or media meet a mask is not known"
    return _why_not_media(model)


def _window(text: Any) -> int | None:
    if getattr(text, "use_sliding_window", True) is False:
        return None
    return _positive(getattr(text, "sliding_window", None))


def _chunk(text: Any) -> int | None:
    return _positive(getattr(text, "attention_chunk_size", None))


def _positive(size: Any) -> int | None:
    """Return the size as a number; configs say "no limit" with None, 0 or -1."""
    return int(size) if size and size > 0 else None
