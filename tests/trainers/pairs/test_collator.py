"""`trainers.pairs.collator`: the packed row and its mask by hand; packed and plain batches give the same log-probs and gradients."""

import pytest
import torch

from llamafactory_hind.engines.local.packing import packed_attention_mask
from llamafactory_hind.trainers.pairs.trainer import pair_logps


pytestmark = pytest.mark.slow


def test_packed_mask_by_hand() -> None:
    """Prompt p q, chosen c, rejected r s, padding: r sees p, q and itself; s sees p, q, r; neither sees c."""
    segments = torch.tensor([[0, 0, 1, 2, 2, -1]])
    expected = torch.tensor(
        [
            [1, 0, 0, 0, 0, 0],  # p
            [1, 1, 0, 0, 0, 0],  # q
            [1, 1, 1, 0, 0, 0],  # c
            [1, 1, 0, 1, 0, 0],  # r
            [1, 1, 0, 1, 1, 0],  # s
            [0, 0, 0, 0, 0, 1],  # padding: itself alone
        ],
        dtype=torch.bool,
    )
    assert torch.equal(packed_attention_mask(segments, dtype=None)[0, 0], expected)
    additive = packed_attention_mask(segments, dtype=torch.float32)[0, 0]
    assert torch.equal(additive == 0, expected)
    assert additive.min() == torch.finfo(torch.float32).min


def test_rejected_takes_the_positions_right_after_the_prompt(pair_setup) -> None:
    """In every rotary dimension the first rejected token stands where the first chosen token stands."""
    setup = pair_setup()
    batch = setup.collator.packed_batch(setup.features(["image"]))
    row = setup.features(["image"])[0]
    first = len(row["prompt_input_ids"])
    second = first + len(row["chosen_ids"])
    positions = batch["position_ids"][..., 0, :]
    assert torch.equal(positions[..., second], positions[..., first])
    assert torch.equal(positions[..., second + 1] - positions[..., second], torch.ones_like(positions[..., 0]))
    assert batch["sources"][0, second] == first - 1
    assert batch["sources"][0, second + 1] == second


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_plain_in_value_and_gradient(pair_setup, padding_side: str, attention: str) -> None:
    """One batch mixes one image, two images, video and text-only rows of different lengths."""
    setup = pair_setup(attention=attention, padding_side=padding_side)
    kinds = ["image", "text", "two_images", "video"]
    found = {}
    for form in ("packed", "plain"):
        setup.model.zero_grad()
        build = getattr(setup.collator, f"{form}_batch")
        logps = pair_logps(setup.model, build(setup.features(kinds)))
        (logps.chosen * torch.tensor([1.0, -2.0, 0.5, 1.5]) - logps.rejected).sum().backward()
        gradients = {name: p.grad.clone() for name, p in setup.model.named_parameters() if p.grad is not None}
        found[form] = (logps, gradients)
    (packed, packed_gradients), (plain, plain_gradients) = found["packed"], found["plain"]
    for field in ("chosen", "rejected"):
        torch.testing.assert_close(getattr(packed, field), getattr(plain, field), atol=2e-5, rtol=1e-5)
        assert (getattr(plain, field) < -1).all()
    assert torch.equal(packed.chosen_length, plain.chosen_length)
    assert torch.equal(packed.rejected_length, plain.rejected_length)
    assert packed_gradients.keys() == plain_gradients.keys()
    assert any("visual" in name for name in plain_gradients)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=2e-5, rtol=1e-3, msg=name)


def test_a_pair_does_not_see_its_neighbours(pair_setup) -> None:
    """Order of rows and company in the batch change nothing."""
    setup = pair_setup()
    kinds = ["image", "text", "two_images", "video"]
    together = pair_logps(setup.model, setup.collator.packed_batch(setup.features(kinds)))
    for index in (3, 1, 0):
        alone = pair_logps(setup.model, setup.collator.packed_batch(setup.features([kinds[index]])))
        torch.testing.assert_close(alone.chosen[0], together.chosen[index], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.rejected[0], together.rejected[index], atol=1e-5, rtol=1e-5)


def test_a_batch_of_text_rows_alone_is_scored_as_text(pair_setup) -> None:
    """The host adds a dummy image to a batch without media; it must not change what text rows score."""
    setup = pair_setup()
    mixed = pair_logps(setup.model, setup.collator.packed_batch(setup.features(["text", "image"])))
    alone = pair_logps(setup.model, setup.collator.packed_batch(setup.features(["text", "text"])))
    torch.testing.assert_close(alone.chosen[0], mixed.chosen[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.rejected[1], mixed.rejected[0], atol=1e-5, rtol=1e-5)
