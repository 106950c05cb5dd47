"""`trainers.host`: dropout is off wherever a model keeps a rate of it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llamafactory_hind.trainers.host import dropout_off
from shared.rollouts import RolloutSetup


MODELS = {
    "qwen2": {"attention_dropout": 0.5, "num_key_value_heads": 2},
    "opt": {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5, "word_embed_proj_dim": 16, "ffn_dim": 32},
    "falcon": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "granite": {"attention_dropout": 0.5, "num_key_value_heads": 2},
    "gpt2": {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5},
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_training_mode_computes_what_evaluation_mode_does(kind: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, **MODELS[kind],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        expected = model.eval()(ids).logits
        assert not torch.allclose(model.train()(ids).logits, expected, atol=1e-4)
        dropout_off(model)
        torch.testing.assert_close(model.train()(ids).logits, expected, atol=1e-6, rtol=0)
    rates = {name: value for name, value in config.to_dict().items() if name in MODELS[kind]}
    assert rates == MODELS[kind]  # what is saved with the model


def test_a_trainer_turns_attention_dropout_off(small_world: Path, tmp_path: Path) -> None:
    setup = RolloutSetup(small_world, tuning={"finetuning_type": "full"})
    for layer in setup.model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    setup.trainer(tmp_path)
    assert {layer.self_attn.attention_dropout for layer in setup.model.model.language_model.layers} == {0.0}
