"""`engines.local.packing`: the mask of a packed row by a naive loop over its texts, and what is refused from the config."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config
from transformers.models.llama import LlamaForCausalLM
from transformers.models.qwen2 import Qwen2ForCausalLM

from llamafactory_hind.engines.local.attention import (
    ALL_LAYERS,
    AttentionKind,
    attention_kinds,
    why_not_cached,
    why_not_packed,
)
from llamafactory_hind.engines.local.packing import (
    PADDING,
    PROMPT,
    number_pictures,
    packed_attention_mask,
    packed_masks,
)


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
}
# left and right padding, segments of different lengths, a picture of three tokens and two side by side
SEGMENTS = [
    [-1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3, -1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3],
]
MEDIA = [
    [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
]


def naive(
    segments: list[int], *, window: int | None = None, chunk: int | None = None, media: list[int] | None = None
) -> torch.Tensor:
    """Write every text out as a row of its own, mask it as the library masks such a row, and carry that back."""
    length = len(segments)
    allowed = torch.eye(length, dtype=torch.bool)
    for own in sorted(set(segments) - {PADDING}):
        text = [place for place, segment in enumerate(segments) if segment in (PROMPT, own)]
        for query, at in enumerate(text):
            if segments[at] != own:
                continue  # prompt tokens are masked as the text of the prompt alone
            for key, seen in enumerate(text):
                sees = key <= query
                sees = sees and (window is None or query - key < window)
                sees = sees and (chunk is None or query // chunk == key // chunk)
                first, last = sorted((at, seen))
                sees = sees or (media is not None and all(media[first : last + 1]))
                allowed[at, seen] = sees
    return allowed


@pytest.mark.parametrize("media", [False, True])
@pytest.mark.parametrize(
    "limits", [{}, {"window": 1}, {"window": 4}, {"window": 11}, {"chunk": 1}, {"chunk": 5}, {"window": 6, "chunk": 8}]
)
def test_equals_texts_in_rows_of_their_own(limits: dict[str, int], media: bool) -> None:
    pictures = number_pictures(torch.tensor(MEDIA).bool()) if media else None
    found = packed_attention_mask(torch.tensor(SEGMENTS), dtype=None, kind=AttentionKind(**limits), pictures=pictures)
    for row, segments in enumerate(SEGMENTS):
        expected = naive(segments, **limits, media=MEDIA[row] if media else None)
        assert torch.equal(found[row, 0], expected), row


def test_a_window_counts_tokens_of_the_text_not_of_the_row() -> None:
    """Prompt p q, answers a b and c d, window 3: d sees q c d, as in the text p q c d; by places it would see c d alone."""
    segments = torch.tensor([[0, 0, 1, 1, 2, 2]])
    mask = packed_attention_mask(segments, dtype=None, kind=AttentionKind(window=3))[0, 0]
    assert mask[5].tolist() == [False, True, False, False, True, True]


def test_pictures_are_numbered_by_runs() -> None:
    media = torch.tensor([[1, 1, 0, 1, 0, 0, 1, 1]]).bool()
    assert number_pictures(media).tolist() == [[0, 0, -1, 1, -1, -1, 2, 2]]


def model_of(**settings: Any) -> torch.nn.Module:
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **settings))


def test_kinds_that_differ_get_masks_of_their_own() -> None:
    model = model_of(use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention", "full_attention"])
    segments = torch.tensor([[0, 0, 1, 1, 2, 2]])
    masks = packed_masks(model, {}, segments)
    assert masks.keys() == {"sliding_attention", "full_attention"}
    assert torch.equal(masks["full_attention"], packed_attention_mask(segments, dtype=None))
    sliding = packed_attention_mask(segments, dtype=None, kind=AttentionKind(window=3))
    assert torch.equal(masks["sliding_attention"], sliding)
    assert not torch.equal(sliding, masks["full_attention"])


def test_a_row_within_the_window_has_one_mask() -> None:
    model = model_of(use_sliding_window=True, sliding_window=6, layer_types=["sliding_attention", "full_attention"])
    segments = torch.tensor([[0, 0, 1, 1, 2, 2]])
    assert torch.equal(packed_masks(model, {}, segments), packed_attention_mask(segments, dtype=None))


def test_eager_layers_get_an_additive_mask() -> None:
    model = model_of(attn_implementation="eager")
    mask = packed_masks(model, {}, torch.tensor([[0, 0, 1, 1]]))
    assert mask.dtype == torch.float32
    assert mask.min() == torch.finfo(torch.float32).min


@pytest.mark.parametrize("name", ["token_type_ids", "cross_attention_mask", "image_bound", "data"])
def test_inputs_of_a_rule_that_is_not_known_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"this model takes \['{name}'\]"):
        packed_masks(model_of(), {name: torch.zeros(1, 4)}, torch.tensor([[0, 0, 1, 1]]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"sliding_window": 7}, AttentionKind(window=7)),
        ({"sliding_window": 7, "use_sliding_window": False}, AttentionKind()),
        ({"sliding_window": None}, AttentionKind()),
        ({"sliding_window": 0}, AttentionKind()),
        ({"sliding_window": -1}, AttentionKind()),
        ({"attention_chunk_size": 5}, AttentionKind(chunk=5)),
    ],
)
def test_a_config_without_layer_types_speaks_for_all_layers(settings: dict[str, Any], expected: AttentionKind) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    for name, value in settings.items():
        setattr(model.config, name, value)
    assert attention_kinds(model) == {ALL_LAYERS: expected}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "`flash_attention_2` takes no mask of one's own"),
        ({"_attn_implementation": "flex_attention"}, "`flex_attention` takes no mask of one's own"),
        (
            {"layer_types": ["full_attention", "linear_attention"]},
            "layers of kind ['linear_attention'] look past a mask",
        ),
        ({"layer_types": ["conv", "full_attention"]}, "layers of kind ['conv'] look past a mask"),
        ({"layers_block_type": ["mamba", "attention"]}, "layers of kind ['mamba'] look past a mask"),
        ({"attention_layers": ["global", "local"]}, "layers of kind ['local'] look past a mask"),
        ({"layer_types": ["sliding_attention"] * 2, "sliding_window": None}, "does not say how far they look"),
        ({"layer_types": ["chunked_attention"] * 2}, "does not say how far they look"),
        ({"is_encoder_decoder": True}, "it is an encoder-decoder"),
        ({"alibi": True}, "ALiBi counts places in the row"),
        ({"attn_config": SimpleNamespace(alibi=True)}, "ALiBi counts places in the row"),
        ({"no_rope_layers": [1, 0], "attn_temperature_tuning": True}, "`attn_temperature_tuning` counts places"),
        ({"cross_attention_layers": [1]}, "attends across to its pictures"),
        ({"use_bidirectional_attention": True}, "its attention is not causal"),
        ({"is_causal": False}, "its attention is not causal"),
    ],
)
def test_what_cannot_be_modelled_is_refused_from_the_config(changes: dict[str, Any], reason: str) -> None:
    model = model_of()
    assert why_not_packed(model) is None
    for name, value in changes.items():
        setattr(model.config, name, value)
    assert reason in why_not_packed(model)


def test_models_with_a_state_or_without_positions_are_refused() -> None:
    class Stateful(Qwen2ForCausalLM):
        _is_stateful = True

    class Placed(Qwen2ForCausalLM):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None: ...

    assert "layers with a state" in why_not_packed(Stateful(Qwen2Config(**SIZES)))
    assert "layers with a state" in why_not_cached(Stateful(Qwen2Config(**SIZES)))
    assert why_not_cached(model_of()) is None
    assert "Placed takes no `position_ids`" in why_not_packed(Placed(Qwen2Config(**SIZES)))


def test_windows_need_masks_that_the_library_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 4.53 the layers cut a mask by places in the row themselves."""
    find = importlib.util.find_spec
    windowed = LlamaForCausalLM(LlamaConfig(**SIZES))
    windowed.config.sliding_window = 4
    assert why_not_packed(windowed) is None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "transformers.masking_utils" else find(name)
    )
    assert "need transformers 4.53 or newer" in why_not_packed(windowed)
    assert why_not_packed(model_of()) is None


@pytest.mark.parametrize("model_type", ["gemma3", "paligemma"])
def test_bidirectional_media_need_the_rules_of_transformers_5(
    model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    monkeypatch.setattr(type(model.config), "model_type", model_type)
    assert why_not_packed(model) is None
    assert why_not_cached(model) is None
    monkeypatch.setattr("transformers.__version__", "4.57.1")
    for why in (why_not_packed, why_not_cached):
        assert why(model) == "its bidirectional media need transformers 5"


def test_chunks_that_count_padding_are_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed rows have masks of our own; prompts of a cache are padded on the left and masked by the library."""
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.config.attention_chunk_size = 4
    assert why_not_cached(model) is None
    monkeypatch.setattr("transformers.masking_utils.chunked_overlay", lambda chunk_size: None)
    assert why_not_cached(model) == "its chunks count padding before transformers 4.57"
    assert why_not_packed(model) is None
    assert why_not_cached(model_of()) is None


def test_windows_of_code_from_a_hub_are_refused() -> None:
    from transformers import PreTrainedModel

    class Remote(PreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)

        def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None: ...

    Remote.__module__ = "transformers_modules.someone.modeling"
    config = LlamaConfig(**SIZES)
    config._attn_implementation = "eager"
    assert why_not_packed(Remote(config)) is None
    config.sliding_window = 4
    assert "code from a hub" in why_not_packed(Remote(config))
