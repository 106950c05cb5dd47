"""`stage: lskd` on BLIP-2: transformers' own `Blip2ForImageTextRetrieval` is the twin of its Q-Former's side."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Blip2ForImageTextRetrieval

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.encoding import encode
from llamafactory_hind.engines.local.matching.heads import FILE, MatchingHeads
from llamafactory_hind.engines.local.matching.model import Matcher, Wanted
from llamafactory_hind.engines.local.matching.scorer import MatchScorer
from llamafactory_hind.engines.local.weights import LoadedModel, load_weights
from llamafactory_hind.trainers.lskd.collator import MatchingCollator
from shared.blip2 import QUERIES, write_blip2
from shared.lskd import ANSWERS, BASE, numbers, write_rows
from shared.stages import PLAIN_STEPS, history, loaded, lora, run, same, warm
from shared.store import kept


QUESTIONS = ("why ?", "what is told of the ring at the left ?", "where ?")


@pytest.fixture(scope="module")
def blip2(small_world: Path) -> Path:
    return kept("blip2", lambda folder: write_blip2(folder, small_world / "tiny"))


@pytest.fixture(scope="module")
def weights(blip2: Path) -> LoadedModel:
    model = load_weights(str(blip2), settings={"template": "blip2"}, device="cpu")
    model.model.requires_grad_(True).float()
    return model


@pytest.fixture(scope="module")
def prompts(weights: LoadedModel, small_world: Path) -> list[Prompt]:
    images = sorted(map(str, (small_world / "images").glob("*.png")))
    return [
        encode(weights, Request([{"role": "user", "content": f"<image>{question}"}], images=[image]), answer)
        for question, answer, image in zip(QUESTIONS, ANSWERS, images, strict=False)
    ]


def batch_of(model: LoadedModel, prompts: list[Prompt]) -> dict[str, Any]:
    collator = MatchingCollator(
        template=model.template, processor=model.processor, tokenizer=model.tokenizer, model=model.model
    )
    features = [
        {
            "input_ids": prompt.input_ids + prompt.answer_ids,
            "labels": [-100] * len(prompt.input_ids) + prompt.answer_ids,
            "images": list(prompt.request.images),
            "picture": number,
        }
        for number, prompt in enumerate(prompts)
    ]
    return collator(features)


def test_the_prompt_is_that_of_the_real_processor(weights: LoadedModel, prompts: list[Prompt]) -> None:
    """Image tokens, then text, as `Blip2Processor` writes it; its tokenizer has no begin token."""
    text = f"{QUESTIONS[0]} answer:"
    assert prompts[0].input_ids == weights.processor(images=None, text="<image>" * QUERIES + text)["input_ids"][0]


def twin_of(matcher: Matcher) -> Blip2ForImageTextRetrieval:
    """Transformers' model with the same weights."""
    body, heads = matcher.body, matcher.heads
    config = type(body.config).from_dict(body.config.to_dict())
    config.image_text_hidden_size, config.image_token_index = heads.size, None  # texts come without image tokens
    config.qformer_config.vocab_size = heads.words
    twin = Blip2ForImageTextRetrieval(config).train(body.training)
    twin.vision_model.load_state_dict(body.vision_model.state_dict())
    twin.qformer.load_state_dict(body.qformer.state_dict())
    twin.embeddings.load_state_dict(heads.embeddings.state_dict())
    twin.vision_projection.load_state_dict(heads.image.state_dict())
    twin.text_projection.load_state_dict(heads.text.state_dict())
    twin.itm_head.load_state_dict(heads.match.state_dict())
    twin.query_tokens.data.copy_(body.query_tokens.data)
    return twin.eval()


def test_similarities_and_matches_are_those_of_transformers(weights: LoadedModel, prompts: list[Prompt]) -> None:
    torch.manual_seed(1)
    body = weights.model.eval()
    heads = Matcher(body, MatchingHeads(1), smoothing=0.1).reader.new_heads(body)
    matcher = Matcher(body, heads, smoothing=0.1).eval()
    twin = twin_of(matcher)
    batch = batch_of(weights, prompts)
    with torch.no_grad():
        found = matcher(batch, Wanted("mean", itc=True, itm=True), seed=3)
        pixels, ids, mask = batch["pixel_values"], batch["text_ids"], batch["text_mask"]
        contrast = twin(pixels, ids, attention_mask=mask)
        similar = torch.einsum("nqd,md->nmq", found.image, found.text).amax(-1)
        torch.testing.assert_close(similar, contrast.logits_per_image, atol=1e-5, rtol=1e-4)
        memory = matcher.reader.remember(body, batch, {})
        texts = [row[: int(length)] for row, length in zip(ids, mask.sum(1), strict=True)]
        pairs = [(a, b) for a in range(3) for b in range(3)]
        states = matcher.reader.match(body, heads, memory, [a for a, _ in pairs], [texts[b] for _, b in pairs])
        for (a, b), logits in zip(pairs, heads.match_logits(states), strict=True):
            one = twin(
                pixels[a : a + 1],
                texts[b][None],
                attention_mask=torch.ones_like(texts[b])[None],
                use_image_text_matching_head=True,
            )
            torch.testing.assert_close(logits, one.logits_per_image[0], atol=1e-5, rtol=1e-4)
        labels = batch["labels"]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
        assert found.lm.item() == pytest.approx(body(**inputs, labels=labels).loss.item(), abs=1e-6)


def test_the_picture_goes_through_the_tower_once(weights: LoadedModel, prompts: list[Prompt]) -> None:
    body = weights.model
    calls: list[int] = []
    hook = body.vision_model.register_forward_hook(lambda *_: calls.append(1))
    heads = Matcher(body, MatchingHeads(1), smoothing=0.1).reader.new_heads(body)
    try:
        Matcher(body, heads, smoothing=0.1)(batch_of(weights, prompts), Wanted("mean", itc=True, itm=True), seed=3)
    finally:
        hook.remove()
    assert len(calls) == 1


@pytest.fixture
def settings(blip2: Path, small_world: Path, tmp_path: Path) -> dict[str, Any]:
    """Four steps of four rows."""
    (tmp_path / "rows").mkdir()
    folder = write_rows(tmp_path / "rows", small_world, region_style="marks")  # no form of boxes is published
    places = {
        "model_name_or_path": blip2,
        "dataset_dir": folder,
        "media_dir": small_world,
        "output_dir": tmp_path / "out",
    }
    own = {"template": "blip2_region", "flash_attn": "auto"}  # a Q-Former has an attention of its own
    return {**BASE, **own, **{name: str(path) for name, path in places.items()}}


def test_choices_are_scored_as_transformers_does(weights: LoadedModel, prompts: list[Prompt]) -> None:
    """One picture, three texts: each beside the picture alone in transformers' model."""
    heads = Matcher(weights.model, MatchingHeads(1), smoothing=0.1).reader.new_heads(weights.model)
    scorer = MatchScorer(weights, heads, batch_size=2)
    twin = twin_of(scorer.matcher)
    request = prompts[0].request
    pixels = batch_of(weights, prompts)["pixel_values"][:1]
    found = {kind: scorer.score(request, ANSWERS[:3], kind) for kind in ("itm", "itc")}
    for number, answer in enumerate(ANSWERS[:3]):
        ids = torch.tensor(encode(weights, request, answer).input_ids[QUERIES:])[None]
        ids = torch.cat([ids, torch.tensor([encode(weights, request, answer).answer_ids])], 1)
        with torch.no_grad():
            match = twin(
                pixels, ids, attention_mask=torch.ones_like(ids), use_image_text_matching_head=True
            ).logits_per_image[0]
            contrast = twin(pixels, ids, attention_mask=torch.ones_like(ids)).logits_per_image[0, 0]
        assert found["itm"][number] == pytest.approx((match[1] - match[0]).item(), abs=1e-5)
        assert found["itc"][number] == pytest.approx(contrast.item(), abs=1e-5)


@pytest.mark.train
def test_without_the_answer_the_language_model_stays(settings: dict[str, Any], blip2: Path) -> None:
    out = run(settings, lm_weight=0.0, max_steps=1)
    before, after = loaded(blip2), loaded(out)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("qformer.") for name in moved)
    assert not any(name.startswith(("language_model.", "language_projection.")) for name in moved)


@pytest.mark.train
def test_trains_saves_and_is_evaluated_again(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"eval_dataset": "held_out", "do_eval": True}
    out = run(settings, max_steps=8, learning_rate=3.0e-3)
    losses = history(out)
    assert losses[-1] < losses[0]
    assert "embeddings.word_embeddings.weight" in load_file(out / FILE)
    assert not any("heads" in name for name in loaded(out))
    again = run(
        settings, do_train=False, max_steps=None, dataset=None, model_name_or_path=str(out),
        output_dir=str(tmp_path / "again"),
    )  # fmt: skip
    assert numbers(again) == pytest.approx(numbers(out), abs=1e-5)


@pytest.mark.train
def test_lora_resumes_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = lora(settings, save_strategy="steps", save_steps=2)
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    part = run(settings, output_dir=str(tmp_path / "part"))
    shutil.rmtree(part / "checkpoint-4")
    again = run(settings, output_dir=str(part))
    assert history(again) == history(whole)
    for file in ("adapter_model.safetensors", FILE):
        expected = load_file(whole / file)
        for name, tensor in load_file(again / file).items():
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.slow
@pytest.mark.train
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """Without dropout, which every process draws for itself."""
    model = Path(shutil.copytree(settings["model_name_or_path"], tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    config["qformer_config"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    settings |= {**PLAIN_STEPS, "learning_rate": 0.02, "max_steps": 2, "model_name_or_path": str(model)}
    one = run(settings, output_dir=str(tmp_path / "one"))
    settings |= {"per_device_train_batch_size": 2, "ddp_find_unused_parameters": False}
    out = tmp_path / "ddp-out"
    warm({**settings, "output_dir": str(out)}, tmp_path / "ddp", ranks=2).finish()
    same(out, one, atol=3e-5)


def test_a_qformer_without_texts_is_refused(small_world: Path, tmp_path: Path) -> None:
    folder = write_blip2(tmp_path / "bare", small_world / "tiny", reads_text=False)
    model = load_weights(str(folder), settings={"template": "blip2"}, device="cpu").model
    with pytest.raises(ValueError, match=r"use_qformer_text_input.*Set it to true"):
        Matcher(model, MatchingHeads(1), smoothing=0.1).reader.new_heads(model)
