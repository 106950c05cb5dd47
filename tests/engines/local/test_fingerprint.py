"""What must change a fingerprint and what must not; the parameters are equal in every case."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config
from transformers.models.qwen2 import Qwen2ForCausalLM

from llamafactory_hind.engines.local.fingerprint import digest_settings, model_settings, processor_settings
from shared.rollouts import RolloutSetup


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
}


def of(changes: dict[str, Any] | None = None, *, attention: str = "sdpa", lora: dict[str, Any] | None = None) -> str:
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, **(changes or {}))
    config._attn_implementation = attention
    model: torch.nn.Module = Qwen2ForCausalLM(config)
    if lora is not None:
        model = get_peft_model(model, LoraConfig(**{"r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], **lora}))
    return digest_settings(model_settings(model))


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rms_norm_eps": 1e-1},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_configuration_is_part_of_it(changes: dict[str, Any]) -> None:
    assert of(changes) != of()
    assert of(changes) == of(changes)


def test_adapters_and_attention_are_part_of_it() -> None:
    assert of(attention="eager") != of()
    assert of(lora={"lora_alpha": 64}) != of(lora={})
    assert of(lora={"use_rslora": True}) != of(lora={})
    assert of(lora={}) != of()
    torch.manual_seed(0)
    adapted = get_peft_model(Qwen2ForCausalLM(Qwen2Config(**SIZES)), LoraConfig(target_modules=["q_proj"]))
    bare = model_settings(Qwen2ForCausalLM(Qwen2Config(**SIZES)))
    assert model_settings(adapted, adapters=False) == bare


def test_where_a_model_is_kept_is_not_part_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name in ("one", "two"):
        Qwen2ForCausalLM(Qwen2Config(**SIZES)).save_pretrained(tmp_path / name)
    one, two = (model_settings(Qwen2ForCausalLM.from_pretrained(tmp_path / name)) for name in ("one", "two"))
    assert one == two


def test_versions_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of()
    monkeypatch.setattr("llamafactory_hind.engines.local.fingerprint.version", lambda name: "0.0")
    assert of() != before


def test_every_setting_of_a_processor_is_part_of_it(small_world: Path) -> None:
    """The limits that the host puts on it, also those whose names do not begin with a medium."""
    processor = RolloutSetup(small_world).loaded.processor
    before = processor_settings(processor)
    assert before
    for name, value in (("image_max_pixels", 1234), ("crop_to_patches", True), ("use_audio_in_video", True)):
        old = getattr(processor, name, None)
        setattr(processor, name, value)
        assert processor_settings(processor) != before, name
        setattr(processor, name, old)
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    assert processor_settings(processor) != before
    assert processor_settings(None) == {}
