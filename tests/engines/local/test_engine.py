"""`engines.local.engine` on a tiny real Qwen2.5-VL: tokens as in `sft`, writing and scoring equal to the model's own plain ways."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from llamafactory.hparams import DataArguments, get_infer_args
from llamafactory.model import load_model
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig

from llamafactory_hind.engines.host_keys import host_keys
from llamafactory_hind.engines.interface import Completion, Request, Sampling
from llamafactory_hind.engines.local.cascade import Cascade
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.prefixes import group_by_prefix
from llamafactory_hind.engines.local.weights import LoadedModel, load_weights
from shared.engines import generate, make_representative, score_texts


pytestmark = pytest.mark.slow


GREEDY = Sampling(n=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=10, seed=0)
HOT = replace(GREEDY, n=4, temperature=1.0, seed=7, greedy_first=True)


@pytest.fixture(scope="module")
def loaded(small_world: Path) -> LoadedModel:
    loaded = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"})
    make_representative(loaded, small_world)
    return loaded


@pytest.fixture(scope="module")
def requests(small_world: Path) -> list[Request]:
    """One image, text, two images, a video, a system text, several turns, another image."""
    images = [str(path) for path in sorted((small_world / "images").glob("*.png"))]
    video = str(min((small_world / "clips").glob("*.mp4")))

    def ask(text: str, **options: object) -> Request:
        return Request([{"role": "user", "content": text}], **options)

    turns = [
        {"role": "user", "content": "<image>What color is the thing?"},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": "And what shape?"},
    ]
    return [
        ask(
            "<image>What does the thing at the top left eat?\nWrite one fact that helps to answer.", images=images[:1]
        ),
        ask("What does the wug eat?"),
        ask("<image><image>What is new?", images=images[1:3]),
        ask("<video>Which thing changes first?", videos=[video]),
        ask("Where does the dax live? " * 5, system="You know creatures."),
        Request(turns, images=images[3:4]),
        ask("<image>Is there a ring?", images=images[4:5]),
    ]


def engine(loaded: LoadedModel, **options: object) -> LocalEngine:
    return LocalEngine(loaded, **{"batch_size": 4, **options})


def ids(written: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in completions] for completions in written]


def mostly(found: list[list[tuple[int, ...]]], expected: list[list[tuple[int, ...]]]) -> bool:
    """Whether nine of ten completions are the same: another way rounds otherwise, which decides a close draw now and then."""
    pairs = [one == other for groups in zip(found, expected, strict=True) for one, other in zip(*groups, strict=True)]
    return sum(pairs) >= 0.9 * len(pairs)


def plain_inputs(
    loaded: LoadedModel, one: LocalEngine, request: Request, answer: list[int]
) -> dict[str, torch.Tensor]:
    """One row without padding, positions left to the model: the way that shares least with the engine."""
    row = one.encode(request, answer)
    token_ids = torch.tensor([row.input_ids + row.answer_ids])
    media = [list(request.images), list(request.videos), list(request.audios)]
    plugin = loaded.template.mm_plugin
    inputs = plugin.get_mm_inputs(*media, [len(media[0])], [len(media[1])], [0], [row.input_ids], loaded.processor)
    config = loaded.model.config
    kinds = (token_ids == config.image_token_id) * 1 + (token_ids == config.video_token_id) * 2
    return {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids), "mm_token_type_ids": kinds, **inputs}


def test_prompts_and_answers_are_the_tokens_of_sft(loaded: LoadedModel, requests: list[Request]) -> None:
    arguments = DataArguments(template="qwen2_vl", cutoff_len=4096)
    processor = SupervisedDatasetProcessor(
        template=loaded.template, tokenizer=loaded.tokenizer, processor=loaded.processor, data_args=arguments
    )
    for request in requests:
        expected, labels = processor._encode_data_example(
            prompt=list(request.messages),
            response=[{"role": "assistant", "content": "The dax eats fish."}],
            system=request.system,
            tools=None,
            images=list(request.images),
            videos=list(request.videos),
            audios=[],
        )
        row = engine(loaded).encode(request, "The dax eats fish.")
        turn = len(row.answer_ids)
        assert row.input_ids + row.answer_ids == expected[: len(row.input_ids) + turn]
        assert row.answer_ids[-1] == loaded.tokenizer.eos_token_id
        # what sft trains on beyond it is the template's line break after the stop token
        assert loaded.tokenizer.decode(expected[len(row.input_ids) + turn :]) == "\n"
        assert labels[len(row.input_ids)] == row.answer_ids[0]
        assert engine(loaded).encode(request).input_ids == row.input_ids


def test_greedy_equals_the_librarys_generate(loaded: LoadedModel, requests: list[Request]) -> None:
    one = engine(loaded)
    written = generate(one, requests, GREEDY)
    assert one.writer.proof.kinds and not one.writer.proof.failed
    for request, (completion,) in zip(requests, written, strict=True):
        inputs = plain_inputs(loaded, one, request, [])
        config = GenerationConfig(max_new_tokens=10, do_sample=False, eos_token_id=one.stop_ids, pad_token_id=0)
        suppressed = [[token] for token in one.banned_ids]
        out = loaded.model.generate(**inputs, generation_config=config, bad_words_ids=suppressed)
        assert list(completion.token_ids) == out[0, inputs["input_ids"].shape[1] :].tolist()


def test_group_prefill_equals_the_plain_path(loaded: LoadedModel, requests: list[Request]) -> None:
    shared_prefill, plain = engine(loaded), engine(loaded, batch_size=2)
    plain.writer.proof.failed = True
    first, second = generate(shared_prefill, requests, HOT), generate(plain, requests, HOT)
    assert shared_prefill.writer.proof.kinds and not shared_prefill.writer.proof.failed
    assert ids(first) == ids(second)
    lengths = {len(row) for rows in ids(first) for row in rows}
    assert len(lengths) > 1, "some rows must stop early, or dropping finished rows is not tried"
    for mine, other in zip(chain(*first), chain(*second), strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert mine.finish_reason == ("stop" if mine.token_ids[-1] in shared_prefill.stop_ids else "length")


def test_batch_composition_changes_nothing(loaded: LoadedModel, requests: list[Request]) -> None:
    together = generate(engine(loaded, batch_size=7), requests, HOT)
    alone = [generate(engine(loaded, batch_size=1), [request], HOT)[0] for request in requests]
    backwards = generate(engine(loaded, batch_size=3), requests[::-1], HOT)[::-1]
    assert ids(together) == ids(alone) == ids(backwards)


def test_seed_key_and_repetition_choose_the_random_numbers(loaded: LoadedModel, requests: list[Request]) -> None:
    # paths of pictures are in the seeds, and a third of all completions end at once: a few might be alike
    many = replace(HOT, n=12)
    one, request = engine(loaded), requests[0]
    first = ids(generate(one, [request], many))[0]
    assert len(set(first)) > 2, "samples of one request differ"
    assert ids(generate(one, [request], replace(many, seed=8)))[0] != first
    named = replace(request, key="row 1")
    assert ids(generate(one, [named], many))[0] == ids(generate(one, [requests[1], named], many))[1] != first
    twice = ids(generate(one, [request, request], many))
    assert twice[0] == first
    assert twice[0][0] == twice[1][0], "the greedy text is the same"
    assert twice[0][1:] != twice[1][1:], "the same request asked twice is two draws"


def test_stale_rope_deltas_are_not_read(loaded: LoadedModel, requests: list[Request]) -> None:
    before = generate(engine(loaded), requests, GREEDY)
    inner = loaded.model.model
    inner.rope_deltas = torch.full((4, 1), 99)
    assert ids(generate(engine(loaded), requests, GREEDY)) == ids(before)
    inner.rope_deltas = None


def test_scores_equal_the_naive_way_and_those_of_writing(loaded: LoadedModel, requests: list[Request]) -> None:
    one = engine(loaded, chunk_tokens=3)
    plain = engine(loaded)
    plain.answers.proof.failed = True
    written = generate(one, requests, HOT)
    asked = [(request, c) for request, completions in zip(requests, written, strict=True) for c in completions]
    scores = score_texts(one, [request for request, _ in asked], [c.token_ids for _, c in asked])
    assert one.answers.chunked is True
    assert one.answers.proof.kinds and not one.answers.proof.failed, (
        "five completions a request: their prompt is computed once"
    )
    apart = score_texts(plain, [request for request, _ in asked], [c.token_ids for _, c in asked])
    assert [score.logprob for score in scores] == pytest.approx([score.logprob for score in apart], abs=1e-3)
    for (request, completion), score in zip(asked, scores, strict=True):
        inputs = plain_inputs(loaded, one, request, list(completion.token_ids))
        with torch.no_grad():
            logits = loaded.model(**inputs).logits[0].double()
        count = len(completion.token_ids)
        targets = torch.tensor(completion.token_ids)
        naive = logits[-count - 1 : -1].log_softmax(-1).gather(-1, targets[:, None]).sum().item()
        assert score.tokens == count
        assert score.logprob == pytest.approx(naive, abs=1e-4 * count)
        assert completion.logprob == pytest.approx(naive, abs=1e-4 * count)


def test_a_text_is_scored_with_its_stop_token(loaded: LoadedModel, requests: list[Request]) -> None:
    one = engine(loaded)
    token_ids = [*loaded.tokenizer.encode("fish", add_special_tokens=False), loaded.tokenizer.eos_token_id]
    assert score_texts(one, requests[:1], ["fish"]) == score_texts(one, requests[:1], [token_ids])
    assert score_texts(one, requests[:1], ["fish"])[0].tokens == len(token_ids)


def test_media_tokens_are_never_written_however_hot(loaded: LoadedModel, requests: list[Request]) -> None:
    hot = replace(HOT, n=16, temperature=100.0, max_new_tokens=24)
    one = engine(loaded)
    banned = loaded.tokenizer.convert_ids_to_tokens(one.banned_ids)
    assert {"<|image_pad|>", "<|video_pad|>"} <= set(banned)

    def media_tokens() -> int:
        written = chain(*ids(generate(one, requests, hot)))
        return sum(token in forbidden for row in written for token in row)

    forbidden = set(one.banned_ids)
    assert media_tokens() == 0
    one.banned_ids = []
    assert media_tokens() > 0, "without the ban such a temperature writes some: the test can fail"


def test_a_model_that_refuses_repeated_caches_falls_back(
    loaded: LoadedModel, requests: list[Request], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model without two-part attention repeats its cache; one that cannot do that either writes every row for itself."""
    from transformers.cache_utils import Cache

    expected = ids(generate(engine(loaded), requests, HOT))

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("no such operation")

    monkeypatch.setattr(Cascade, "attend", refuse)
    one = engine(loaded)
    assert mostly(ids(generate(one, requests, HOT)), expected)
    assert not one.writer.cascade
    assert not one.writer.proof.failed
    monkeypatch.setattr(Cache, "batch_repeat_interleave", refuse)
    one = engine(loaded)
    assert mostly(ids(generate(one, requests, HOT)), expected)
    assert one.writer.proof.failed


def test_shared_beginnings_with_different_texts(loaded: LoadedModel, requests: list[Request]) -> None:
    """As the `knowledge` pipeline asks: one question with several facts, among questions that share nothing."""
    facts = ["", "\nKnowledge: The dax eats fish.", "\nKnowledge: The dax lives in caves and fears owls, it is said."]
    asked = [
        replace(
            request,
            messages=[*request.messages[:-1], {"role": "user", "content": request.messages[-1]["content"] + fact}],
        )
        for request in requests
        for fact in facts
    ]
    one, plain = engine(loaded, batch_size=5), engine(loaded, batch_size=1)
    plain.answers.proof.failed = True
    answers = ["fish", "a blue ring"] * len(asked)
    found, expected = score_texts(one, asked, answers[: len(asked)]), score_texts(plain, asked, answers[: len(asked)])
    assert one.answers.proof.kinds and not one.answers.proof.failed
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in expected], abs=1e-3)
    assert len({round(score.logprob, 2) for score in found}) > len(requests)


def test_a_shared_cache_of_another_row_is_noticed(
    loaded: LoadedModel, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.cache_utils import DynamicCache

    expected = score_texts(engine(loaded), requests * 3, ["fish"] * 21)
    own = DynamicCache.batch_select_indices
    monkeypatch.setattr(DynamicCache, "batch_select_indices", lambda self, rows: own(self, rows.flip(0)))
    one = engine(loaded)
    found = score_texts(one, requests * 3, ["fish"] * 21)
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in expected], abs=1e-3)
    assert one.answers.proof.failed


@pytest.mark.parametrize(
    ("rows", "media", "groups"),
    [
        # 4 of 6 prompt tokens are common; the last prompt token never is
        ([([1, 9, 2, 3, 4, 5], [7]), ([1, 9, 2, 3, 6, 5], [8])], ["a", "a"], [((0, 1), 4)]),
        ([([1, 9, 2, 3], [7]), ([1, 9, 2, 3], [8])], ["a", "a"], [((0, 1), 3)]),
        ([([1, 9, 2, 3], [7]), ([1, 9, 2, 3], [8])], ["a", "b"], []),  # other pictures under the same tokens
        (
            [([1, 2, 9, 3, 4, 5], [7]), ([1, 3, 9, 3, 4, 5], [8])],
            ["a", "a"],
            [],
        ),  # the picture comes after they differ
        (
            [([1, 9, 2, 3, 4, 5, 6, 7, 8], [7]), ([1, 9, 3, 3, 4, 5, 6, 7, 8], [8])],
            ["a", "a"],
            [],
        ),  # too little to gain
        ([([1, 9, 2, 3], [7])], ["a"], []),
    ],
)
def test_grouping_by_hand(rows: list, media: list, groups: list) -> None:
    """9 stands for a media placeholder."""
    found, alone = group_by_prefix(rows, [(name,) for name in media], media_ids=[9], largest=8)
    assert [(group.places, group.length) for group in found] == groups
    assert sorted([*alone, *(place for group in found for place in group.places)]) == list(range(len(rows)))


def test_wrong_cache_contents_are_noticed(
    loaded: LoadedModel, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose rows stand behind another prompt must not pass the proof, whether its cache is repeated or kept once."""
    from transformers.cache_utils import Cache, DynamicCache

    own, lay_out = DynamicCache.batch_repeat_interleave, Cascade._lay_out

    def mix_up(self: Cache, repeats: int) -> None:
        own(self, repeats)
        self.batch_select_indices(torch.arange(self.layers[0].keys.shape[0]).roll(repeats))

    def mix_up_places(self: Cascade) -> None:
        lay_out(self)
        self.places = self.places.roll(self.width)  # each row among those of another prompt

    expected = ids(generate(engine(loaded), requests, HOT))
    monkeypatch.setattr(Cascade, "_lay_out", mix_up_places)
    one = engine(loaded)
    assert mostly(ids(generate(one, requests, HOT)), expected)
    assert not one.writer.cascade
    assert not one.writer.proof.failed
    monkeypatch.setattr(DynamicCache, "batch_repeat_interleave", mix_up)
    one = engine(loaded)
    assert mostly(ids(generate(one, requests, HOT)), expected)
    assert one.writer.proof.failed


def test_a_training_model_is_given_back_as_it_was(loaded: LoadedModel, requests: list[Request]) -> None:
    loaded.model.train()
    try:
        one = engine(loaded, adapters=None)
        first = generate(one, requests[:2], GREEDY)
        assert loaded.model.training
        assert not any(parameter.grad_fn for parameter in loaded.model.parameters())
        assert ids(first) == ids(generate(one, requests[:2], GREEDY))
    finally:
        loaded.model.eval()


@pytest.fixture(scope="module")
def adapters(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two random LoRA adapters and one that also replaces the head."""
    paths = []
    for number in range(3):
        torch.manual_seed(number)
        model = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"}).model
        replaced = ["lm_head"] if number == 2 else None
        model = get_peft_model(
            model,
            LoraConfig(
                r=4, target_modules=["q_proj", "v_proj", "up_proj"], modules_to_save=replaced, task_type="CAUSAL_LM"
            ),
        )
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        paths.append(str(tmp_path_factory.mktemp(f"adapter_{number}")))
        model.save_pretrained(paths[-1])
    return paths


def host_scores(small_world: Path, adapters: list[str], score: Callable) -> list[float]:
    """Scores of the model as the host itself loads it, adapters merged."""
    names = {"adapter_name_or_path": ",".join(adapters)} if adapters else {}
    arguments = {"model_name_or_path": str(small_world / "tiny"), "template": "qwen2_vl", "finetuning_type": "lora"}
    model_args, _, finetuning_args, _ = get_infer_args(arguments | names)
    bare = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"})
    bare.model = load_model(bare.tokenizer, model_args, finetuning_args, is_trainable=False)
    return score(LocalEngine(bare, batch_size=4))


def test_adapters_share_one_base_and_equal_the_hosts_merge(
    small_world: Path, requests: list[Request], adapters: list[str]
) -> None:
    def score(one: LocalEngine) -> list[float]:
        return [score.logprob for score in score_texts(one, requests * 2, ["The dax eats fish."] * 2 * len(requests))]

    shared = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"})
    engines = {
        (): LocalEngine(shared, batch_size=4),
        (0,): LocalEngine(shared, batch_size=4, adapters=adapters[:1]),
        (0, 1): LocalEngine(shared, batch_size=4, adapters=adapters[:2]),
        (2,): LocalEngine(shared, batch_size=4, adapters=adapters[2:]),
    }
    found = {numbers: score(one) for numbers, one in engines.items()}
    for numbers, scores in found.items():
        expected = host_scores(small_world, [adapters[number] for number in numbers], score)
        assert scores == pytest.approx(expected, abs=1e-3), numbers
    assert engines[(0, 1)].answers.proof.kinds and not engines[(0, 1)].answers.proof.failed
    assert score(engines[()]) == found[()], "the base is untouched by the others"
    assert abs(found[()][0] - found[(0,)][0]) > 0.1
    assert abs(found[(0,)][0] - found[(0, 1)][0]) > 0.1
    with pytest.raises(ValueError, match="replace whole modules"):
        LocalEngine(shared, batch_size=4, adapters=[adapters[0], adapters[2]])


def test_capabilities_and_host_keys(loaded: LoadedModel) -> None:
    assert engine(loaded).capabilities.videos
    assert not engine(loaded).capabilities.audios
    assert {"image_max_pixels", "video_fps", "infer_dtype", "template", "quantization_bit"} <= host_keys()
    assert not {"adapter_name_or_path", "dataset", "stage"} & host_keys()


def test_a_missing_placeholder_is_an_error(loaded: LoadedModel, small_world: Path) -> None:
    image = str(min((small_world / "images").glob("*.png")))
    with pytest.raises(ValueError, match="number of images"):
        generate(engine(loaded), [Request([{"role": "user", "content": "no placeholder"}], images=[image])], GREEDY)
