"""What must hold on a CUDA device as it does on the CPU; skipped where there is none (`make test-gpu`)."""

import pytest
import torch

from llamafactory_hind.engines.local.scoring import plain_token_logprobs, token_logprobs
from llamafactory_hind.losses.logprobs import linear_logprobs


pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_chunked_head_equals_full_logits(dtype: torch.dtype, atol: float) -> None:
    """Value and gradients against float32 log-softmax of the same (rounded) inputs."""
    torch.manual_seed(0)
    hidden = torch.randn(2, 33, 64, device="cuda").to(dtype).requires_grad_()
    weight = (torch.randn(1000, 64, device="cuda") / 8).to(dtype).requires_grad_()
    targets = torch.randint(0, 1000, (2, 33), device="cuda")
    ours = linear_logprobs(hidden, weight, targets, chunk_tokens=16)
    full = (hidden.float() @ weight.float().T).log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(ours, full, atol=atol, rtol=1e-2)
    expected = torch.autograd.grad(full.sum(), (hidden, weight))
    for found, wanted in zip(torch.autograd.grad(ours.sum(), (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(found.float(), wanted.float(), atol=atol, rtol=5e-2)


def test_packed_pairs_equal_plain_pairs(pair_setup) -> None:
    from llamafactory_hind.trainers.pairs.trainer import pair_logps

    setup = pair_setup()
    model = setup.model.to("cuda")
    found = []
    for build in (setup.collator.packed_batch, setup.collator.plain_batch):
        batch = {name: value.to("cuda") for name, value in build(setup.features(["image", "text"])).items()}
        found.append(pair_logps(model, batch))
    torch.testing.assert_close(found[0].chosen, found[1].chosen, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found[0].rejected, found[1].rejected, atol=1e-3, rtol=1e-4)


def test_token_logprobs_under_autocast() -> None:
    from transformers import Qwen2Config
    from transformers.models.qwen2 import Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=300, num_key_value_heads=1, **sizes)).to("cuda").eval()
    ids = torch.randint(3, 300, (2, 20), device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16), torch.no_grad():
        ours = token_logprobs(model, {"input_ids": ids}, ids)
        own = plain_token_logprobs(model, {"input_ids": ids}, ids)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, own, atol=5e-2, rtol=1e-2)
