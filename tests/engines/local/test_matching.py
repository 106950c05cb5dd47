"""The matcher against a naive twin that computes every pair of picture and text by itself: values, gradients, and the bookkeeping."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.encoding import collate, encode
from llamafactory_hind.engines.local.matching.bodies import TEXT_KEYS
from llamafactory_hind.engines.local.matching.drawing import Negatives, draw, pairs_of, shares
from llamafactory_hind.engines.local.matching.heads import MatchingHeads
from llamafactory_hind.engines.local.matching.model import Matcher, Wanted
from llamafactory_hind.engines.local.matching.proof import why_not_shared
from llamafactory_hind.engines.local.weights import LoadedModel, load_weights
from llamafactory_hind.losses.contrastive import draw_negatives
from llamafactory_hind.trainers.lskd.collator import MatchingCollator


QUESTIONS = ("Why?", "What is told of the ring at the left?", "Where?", "Why does it sing?")
ANSWERS = ("a dax eats moss", "bells", "the red ring is at the left", "it lives in caves")
PICTURES = (0, 1, 2, 1)  # rows 1 and 3 are about one picture
SEED = 5
ALL = Wanted("mean", itc=True, itm=True)


@pytest.fixture(scope="module")
def weights(small_world: Path) -> LoadedModel:
    loaded = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"}, device="cpu")
    loaded.model.requires_grad_(True).float()
    return loaded


@pytest.fixture(scope="module")
def prompts(weights: LoadedModel, small_world: Path) -> list[Prompt]:
    images = sorted(map(str, (small_world / "images").glob("*.png")))
    return [
        encode(weights, Request([{"role": "user", "content": f"<image>{question}"}], images=[images[picture]]), answer)
        for question, answer, picture in zip(QUESTIONS, ANSWERS, PICTURES, strict=True)
    ]


def batch_of(loaded: LoadedModel, prompts: list[Prompt], side: str = "right") -> dict[str, Any]:
    import copy

    tokenizer = copy.copy(loaded.tokenizer)
    tokenizer.padding_side = side
    collator = MatchingCollator(
        template=loaded.template, processor=loaded.processor, tokenizer=tokenizer, model=loaded.model
    )
    features = [
        {
            "input_ids": prompt.input_ids + prompt.answer_ids,
            "labels": [-100] * len(prompt.input_ids) + prompt.answer_ids,
            "images": list(prompt.request.images),
            "picture": picture,
        }
        for prompt, picture in zip(prompts, PICTURES, strict=False)
    ]
    return collator(features)


def matcher_of(loaded: LoadedModel) -> Matcher:
    torch.manual_seed(1)
    heads = MatchingHeads(loaded.model.get_output_embeddings().in_features)
    matcher = Matcher(loaded.model, heads, smoothing=0.1)
    matcher.zero_grad()
    return matcher.train()


def last_state(loaded: LoadedModel, ids: list[int], images: list[Any], place: int = -1) -> torch.Tensor:
    """The state of one token of one row, computed alone by the plain model."""
    prompt = Prompt(ids, [], Request([{"role": "user", "content": ""}], images=images))
    inputs, _ = collate(loaded, [prompt], padding_side="right")
    return loaded.model(**inputs, output_hidden_states=True).hidden_states[-1][0, : len(ids)][place]


def naive_losses(loaded: LoadedModel, matcher: Matcher, prompts: list[Prompt]) -> tuple[torch.Tensor, ...]:
    """LM, ITC and ITM, each a mean, all N x N pairs computed one by one; the negatives are then picked out of them."""
    media = loaded.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    around = {media, *loaded.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])}
    rows = [prompt.input_ids + prompt.answer_ids for prompt in prompts]
    ends = [max(place for place, token in enumerate(row) if token == media) for row in rows]
    images = [list(prompt.request.images) for prompt in prompts]
    count, heads = len(rows), matcher.heads
    image = [last_state(loaded, rows[n][: ends[n] + 1], images[n]) for n in range(count)]
    text = [last_state(loaded, [token for token in row if token not in around], []) for row in rows]
    pair = [
        [last_state(loaded, rows[a][: ends[a] + 1] + rows[b][ends[b] + 1 :], images[a]) for b in range(count)]
        for a in range(count)
    ]
    image = [functional.normalize(heads.image(one), dim=-1) for one in image]
    text = [functional.normalize(heads.text(one), dim=-1) for one in text]
    similar = [[(image[a] @ text[b]) / heads.temperature for b in range(count)] for a in range(count)]
    itc = 0.0
    for a in range(count):
        right = [PICTURES[a] == PICTURES[b] for b in range(count)]
        target = [0.9 * one / sum(right) + 0.1 / count for one in right]
        for scores in (similar[a], [similar[b][a] for b in range(count)]):
            total = sum(torch.exp(score) for score in scores)
            itc = (
                itc - sum(t * torch.log(torch.exp(score) / total) for t, score in zip(target, scores, strict=True)) / 2
            )
    generator = torch.Generator().manual_seed(SEED)
    drawn = []
    for scores in (similar, [list(column) for column in zip(*similar, strict=True)]):
        chances = torch.zeros(count, count)
        for a in range(count):
            allowed = [b for b in range(count) if PICTURES[a] != PICTURES[b]]
            total = sum(torch.exp(scores[a][b]) for b in allowed)
            for b in allowed:
                chances[a, b] = (torch.exp(scores[a][b]) / total).item()
        drawn.append(draw_negatives(chances, generator=generator).tolist())
    itm = 0.0
    for row in range(count):
        for a, b, right in ((row, row, 1), (row, drawn[0][row], 0), (drawn[1][row], row, 0)):
            itm = itm - torch.log_softmax(heads.match(pair[a][b]), -1)[right] / 3
    inputs, labels = collate(loaded, prompts, padding_side="right")
    return loaded.model(**inputs, labels=labels).loss, itc / count, itm / count


@pytest.mark.parametrize("packed", [True, False])
def test_equals_a_naive_twin_with_its_gradients(weights: LoadedModel, prompts: list[Prompt], packed: bool) -> None:
    matcher = matcher_of(weights)
    matcher.reader.packed = packed
    found = matcher(batch_of(weights, prompts), ALL, seed=SEED)
    losses = (found.lm, found.itc.mean(), found.itm / len(prompts))
    sum(losses).backward()
    ours = {name: weight.grad.clone() for name, weight in matcher.named_parameters() if weight.grad is not None}
    matcher.zero_grad()
    expected = naive_losses(weights, matcher, prompts)
    sum(expected).backward()
    assert [loss.item() for loss in losses] == pytest.approx([loss.item() for loss in expected], abs=1e-5)
    for name, weight in matcher.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(ours[name], weight.grad, atol=2e-5, rtol=1e-3, msg=name)
    assert ours.keys() == {name for name, weight in matcher.named_parameters() if weight.grad is not None}


def test_the_side_of_the_padding_changes_nothing(weights: LoadedModel, prompts: list[Prompt]) -> None:
    matcher = matcher_of(weights)
    for packed in (True, False):
        matcher.reader.packed = packed
        with torch.no_grad():
            right, left = (matcher(batch_of(weights, prompts, side), ALL, seed=SEED) for side in ("right", "left"))
        for name in ("lm", "itc", "itm", "image", "text"):
            torch.testing.assert_close(getattr(left, name), getattr(right, name), atol=1e-5, rtol=1e-4, msg=name)


def test_sharing_is_proved_on_this_model_and_a_wrong_mask_is_seen(
    weights: LoadedModel, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llamafactory_hind.engines.local.matching import mixing

    matcher = matcher_of(weights).eval()
    batch = batch_of(weights, prompts)
    texts = {name: batch.pop(name) for name in TEXT_KEYS}
    memory = matcher.reader.remember(matcher.body, batch, texts)
    pairs = ([0, 0, 1, 1, 2, 3], [memory.tails[place] for place in (0, 1, 1, 2, 2, 3)])
    assert why_not_shared(matcher, memory, *pairs) is None
    causal = lambda model, inputs, segments: (segments >= 0).long()
    monkeypatch.setattr(mixing, "packed_masks", causal)
    assert "differ from the plain path" in why_not_shared(matcher, memory, *pairs)


def test_frozen_towers_see_each_picture_once(weights: LoadedModel, prompts: list[Prompt]) -> None:
    """The host freezes the vision tower unless it is told not to."""
    tower = weights.model.model.visual
    tower.requires_grad_(False)
    calls = []
    hook = tower.register_forward_hook(lambda *_: calls.append(1))
    inner = tower.blocks[0].register_forward_hook(lambda *_: calls.append(2))
    try:
        matcher = matcher_of(weights)
        matcher.reader.packed = True
        matcher(batch_of(weights, prompts), ALL, seed=SEED)
    finally:
        hook.remove(), inner.remove()
        tower.requires_grad_(True)
    assert calls.count(2) == 1


def test_texts_travel_to_their_pictures() -> None:
    """Four rows, two a process: each process judges the pairs of its own pictures, and all pairs are judged once."""
    negatives = Negatives(texts=[1, 2, 3, 0], images=[2, 3, 0, 0])
    halves = [pairs_of(negatives, offset=offset, count=2) for offset in (0, 2)]
    found = [
        (image + offset, text, row)
        for half, offset in zip(halves, (0, 2), strict=True)
        for image, text, row in zip(*half, strict=True)
    ]
    by_picture = [(0, 1, 0), (1, 2, 1), (2, 3, 2), (3, 0, 3)]
    by_text = [(2, 0, 0), (3, 1, 1), (0, 2, 2), (0, 3, 3)]
    assert sorted(found) == sorted(by_picture + by_text)
    assert shares(negatives, [0, 3]) == [1 / 3, 1 / 3]


def test_draws_are_seeded_and_never_the_same_picture() -> None:
    """Three pictures, of which 0 has two rows; a batch of one picture has nothing to draw from."""
    torch.manual_seed(0)
    image, text = (functional.normalize(torch.randn(4, 3), dim=-1) for _ in range(2))
    pictures = torch.tensor([0, 1, 2, 0])
    same = pictures[:, None] == pictures
    drawn = [draw(image, text, same, temperature=torch.tensor(0.07), seed=seed) for seed in (1, 1, *range(2, 40))]
    assert drawn[0] == drawn[1]
    assert len({tuple(one.texts) for one in drawn}) > 1
    for one in drawn:
        assert all(pictures[row] != pictures[other] for some in one for row, other in enumerate(some))
    nothing = draw(image, text, torch.ones_like(same), temperature=torch.tensor(0.07), seed=1)
    assert nothing == Negatives([-1] * 4, [-1] * 4)
    assert shares(nothing, [2]) == [1.0]


def test_the_nearest_text_is_the_likeliest_negative() -> None:
    """Similarities 0.9 and 0.2 at temperature 0.07: softmax gives the nearer e^10 times the chance."""
    image = torch.tensor([[1.0, 0.0]]).expand(3, 2)
    text = torch.tensor([[1.0, 0.0], [0.9, 0.436], [0.2, 0.98]])
    same = torch.eye(3, dtype=torch.bool)
    drawn = [draw(image, text, same, temperature=torch.tensor(0.07), seed=seed).texts[0] for seed in range(50)]
    assert drawn.count(1) >= 49


def test_the_temperature_is_clamped_as_in_blip() -> None:
    heads = MatchingHeads(4, size=2)
    for value, kept in ((0.0, 0.001), (0.07, 0.07), (3.0, 0.5)):
        heads.temperature.data.fill_(value)
        heads.clamp()
        assert heads.temperature.item() == pytest.approx(kept)
