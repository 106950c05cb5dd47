"""ITC, ITM and hard negatives by hand, against naive loops with their gradients, and against the official formulas."""

import math

import pytest
import torch
from torch.nn import functional

from llamafactory_hind.losses.contrastive import (
    draw_negatives,
    itc_loss,
    itc_targets,
    itm_loss,
    negative_weights,
    similarities,
)


def features(rows: int, queries: int = 3, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(rows)
    images = functional.normalize(torch.randn(rows, queries, size, dtype=torch.float64), dim=-1).requires_grad_()
    texts = functional.normalize(torch.randn(rows, size, dtype=torch.float64), dim=-1).requires_grad_()
    return images, texts


def test_the_best_query_counts() -> None:
    images, texts = features(4)
    naive = [[max(float(query @ text) for query in image) for text in texts] for image in images]
    torch.testing.assert_close(similarities(images, texts), torch.tensor(naive, dtype=torch.float64))
    torch.testing.assert_close(similarities(images[:, 0], texts), images[:, 0] @ texts.T)


def test_itc_by_hand() -> None:
    """Two pairs of similarity 1, others 0, temperature 1, no smoothing: -log(e / (e + 1)) in both directions.

    With smoothing 0.1 the targets are 0.95 and 0.05: 0.95 log(1 + 1/e) + 0.05 log(1 + e).
    """
    eye = torch.eye(2)
    plain = itc_loss(eye, eye, itc_targets(2, 2, offset=0, smoothing=0.0), temperature=1.0)
    assert plain.tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 2)
    smooth = itc_loss(eye, eye, itc_targets(2, 2, offset=0, smoothing=0.1), temperature=1.0)
    expected = 0.95 * math.log(1 + math.exp(-1)) + 0.05 * math.log(1 + math.e)
    assert smooth.tolist() == pytest.approx([expected] * 2)


def test_itc_equals_the_official_code_with_its_gradients() -> None:
    """Both branches of `blip2_qformer.py`; the temperature learns as well. Rows 2 and 3 of 6 are those of this process."""
    images, texts = features(6)
    temperature = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)
    own = slice(2, 4)
    i2t = similarities(images[own], texts)
    t2i = similarities(images, texts[own]).T
    same = torch.tensor([[0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0]], dtype=torch.bool)
    labels = torch.tensor([2, 3])
    plain = sum(functional.cross_entropy(some / temperature, labels, label_smoothing=0.1) for some in (i2t, t2i)) / 2
    weights = same.double() / same.double().sum(1, keepdim=True)
    weights = 0.9 * weights + 0.1 * torch.ones_like(weights) / weights.size(1)
    retrieval = (
        sum(-(functional.log_softmax(some / temperature, 1) * weights).sum(1).mean() for some in (i2t, t2i)) / 2
    )
    for official, positive in ((plain, None), (retrieval, same)):
        targets = itc_targets(2, 6, offset=2, smoothing=0.1, positive=positive).double()
        ours = itc_loss(i2t, t2i, targets, temperature=temperature).mean()
        torch.testing.assert_close(ours, official, rtol=1e-6, atol=1e-7)
        leaves = (images, texts, temperature)
        for found, expected in zip(
            torch.autograd.grad(ours, leaves, retain_graph=True),
            torch.autograd.grad(official, leaves, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_negative_is_never_of_the_same_picture_and_follows_the_similarity() -> None:
    """Similarities 0, 1, 2 at temperature 1, the last one the same picture: chances 1 : e of the first two."""
    similarity = torch.tensor([[0.0, 1.0, 2.0]])
    same = torch.tensor([[False, False, True]])
    weights = negative_weights(similarity, same, temperature=1.0)
    assert weights[0].tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e), 0.0])
    drawn = draw_negatives(weights.expand(4000, 3), generator=torch.Generator().manual_seed(0))
    share = (drawn == 1).double().mean().item()
    assert (drawn != 2).all()
    assert share == pytest.approx(math.e / (1 + math.e), abs=0.03)  # 4 deviations


def test_even_the_least_similar_negative_can_be_drawn() -> None:
    """At a low temperature the similarity of the only other picture is far below that of the pair itself."""
    weights = negative_weights(torch.tensor([[1.0, -1.0]]), torch.tensor([[True, False]]), temperature=0.001)
    assert draw_negatives(weights).tolist() == [1]


def test_a_batch_of_one_picture_has_no_negative() -> None:
    with pytest.raises(ValueError, match="expected another one in the batch"):
        negative_weights(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool), temperature=1.0)


def test_itm_equals_a_loop() -> None:
    torch.manual_seed(0)
    logits, matches = torch.randn(6, 2, requires_grad=True), torch.tensor([1, 1, 0, 0, 0, 0])
    naive = torch.stack([-logits[row].log_softmax(0)[matches[row]] for row in range(6)])
    ours = itm_loss(logits, matches)
    torch.testing.assert_close(ours, naive)
    (found,), (expected,) = (torch.autograd.grad(some.sum(), logits, retain_graph=True) for some in (ours, naive))
    torch.testing.assert_close(found, expected)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        itc_loss(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 3), temperature=1.0)
