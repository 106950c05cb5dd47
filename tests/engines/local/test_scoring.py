"""`engines.local.scoring`: log-probs through a replaced output head equal the model's own, whatever the head does."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CohereConfig, Gemma2Config, GraniteConfig, Qwen2Config
from transformers.models.cohere import CohereForCausalLM
from transformers.models.gemma2 import Gemma2ForCausalLM
from transformers.models.granite import GraniteForCausalLM
from transformers.models.qwen2 import Qwen2ForCausalLM

from llamafactory_hind.engines.local.scoring import UnsupportedHead, check_head, plain_token_logprobs, token_logprobs


SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "plain":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False))
    if kind == "tied":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True))
    if kind == "softcap":
        return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=2.0))
    if kind == "logit_scale":
        return CohereForCausalLM(CohereConfig(**SIZES, logit_scale=3.0))
    if kind == "logits_scaling":
        return GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=0.5))
    model = Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False))
    if kind == "bias":
        model.lm_head = torch.nn.Linear(16, 61, bias=True)
        return model
    if kind == "lora_head":
        model = get_peft_model(model, LoraConfig(r=3, target_modules=["lm_head", "q_proj"]))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        return model
    if kind == "saved_head":
        return get_peft_model(model, LoraConfig(r=3, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    raise KeyError(kind)


def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two rows of nine ids, the second padded by two; labels on some positions, one of them the first."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 61, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    labels = ids.clone()
    labels[0, 1:4] = -100
    labels[1, :3] = -100
    labels[1, 7:] = -100
    return {"input_ids": ids, "attention_mask": mask}, labels


KINDS = ["plain", "tied", "bias", "softcap", "logit_scale", "logits_scaling", "lora_head", "saved_head"]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_models_own_logits_in_value_and_gradient(kind: str) -> None:
    inputs, labels = batch()
    model = tiny(kind).eval()
    twin = copy.deepcopy(model)
    ours = token_logprobs(model, inputs, labels, chunk_tokens=4)
    own = plain_token_logprobs(twin, inputs, labels)
    assert own[0, 1:4].eq(0).all()
    assert own[0, 5] < -0.5
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=1e-5)
    loaded = torch.linspace(-1, 2, ours.numel()).view_as(ours)
    (ours * loaded).sum().backward()
    (own * loaded).sum().backward()
    compared = 0
    for (name, parameter), (_, expected) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(parameter.grad, expected.grad, atol=1e-5, rtol=1e-4, msg=name)
            compared += 1
    assert compared > 2


@pytest.mark.parametrize("kind", ["plain", "softcap", "logit_scale", "logits_scaling"])
def test_the_gradient_comes_in_through_the_models_output(kind: str) -> None:
    """FSDP gathers weights when a gradient reaches an output: it must do so before the head's own backward pass."""
    model, (inputs, labels) = tiny(kind), batch()
    order: list[str] = []
    model.register_forward_hook(
        lambda *parts: parts[2].logits.register_hook(lambda _: order.append("output")) and None
    )
    logps = token_logprobs(model, inputs, labels)
    model.get_output_embeddings().weight.register_hook(lambda _: order.append("head"))
    logps.sum().backward()
    assert order[0] == "output"
    assert order[-1] == "head"


def test_adapter_turned_off_is_the_base_model() -> None:
    inputs, labels = batch()
    model = tiny("lora_head").eval()
    with model.disable_adapter():
        off = token_logprobs(model, inputs, labels)
        torch.testing.assert_close(off, plain_token_logprobs(model, inputs, labels))
    assert (token_logprobs(model, inputs, labels) - off).abs().max() > 1e-2


def test_sources_say_which_position_predicts() -> None:
    """A label whose source is position s is scored by the logits at s: here the last label is asked of position 2."""
    inputs, labels = batch()
    model = tiny("plain").eval()
    labels = torch.full_like(labels, -100)
    labels[0, 8] = 7
    sources = torch.arange(9).expand(2, 9) - 1
    sources = sources.clone()
    sources[0, 8] = 2
    expected = model(**inputs).logits[0, 2].log_softmax(-1)[7]
    torch.testing.assert_close(token_logprobs(model, inputs, labels, sources=sources)[0, 8], expected)


def test_head_is_given_back_after_use_and_after_an_error() -> None:
    inputs, labels = batch()
    model = tiny("plain").eval()
    before = model(**inputs).logits
    token_logprobs(model, inputs, labels)
    with pytest.raises(IndexError):
        token_logprobs(model, inputs, labels, sources=torch.full_like(labels, 99))
    torch.testing.assert_close(model(**inputs).logits, before)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements any operation produced."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_no_tensor_of_batch_length_vocabulary_is_made() -> None:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**{**SIZES, "vocab_size": 4096}))
    inputs = {"input_ids": torch.randint(3, 4096, (4, 64))}
    with LargestTensor() as plain:
        plain_token_logprobs(model, inputs, inputs["input_ids"]).sum().backward()
    with LargestTensor() as ours:
        token_logprobs(model, inputs, inputs["input_ids"], chunk_tokens=16).sum().backward()
    assert plain.largest >= 4 * 63 * 4096
    assert ours.largest <= 16 * 4096  # a chunk of logits, or the head's own gradient


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused() -> None:
    class Doubled(Qwen2ForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 2
            return output

    torch.manual_seed(0)
    inputs, labels = batch()
    check_head(tiny("plain").eval(), inputs, labels)
    with pytest.raises(UnsupportedHead, match="Doubled changes its logits"):
        check_head(Doubled(Qwen2Config(**SIZES)).eval(), inputs, labels)


def test_two_adapters_on_the_head_are_refused() -> None:
    inputs, labels = batch()
    model = tiny("lora_head").eval()
    model.add_adapter("second", LoraConfig(r=2, target_modules=["lm_head"]))
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(UnsupportedHead, match="more than one"):
        token_logprobs(model, inputs, labels)


def test_lora_dropout_on_the_head_is_refused_while_training() -> None:
    inputs, labels = batch()
    config = LoraConfig(r=3, target_modules=["lm_head"], lora_dropout=0.1)
    model = get_peft_model(Qwen2ForCausalLM(Qwen2Config(**SIZES)), config)
    with pytest.raises(UnsupportedHead, match="lora_dropout: 0"):
        token_logprobs(model.train(), inputs, labels)
    token_logprobs(model.eval(), inputs, labels)
