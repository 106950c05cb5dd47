"""What is asked of vLLM, and what an answer must be: every entry that could be wrong, by hand."""

from copy import deepcopy
from typing import Any

import pytest

from llamafactory_hind.engines.vllm.agreement import ServersFailed, check_difference, mean_difference
from llamafactory_hind.engines.vllm.protocol import (
    Asked,
    Weights,
    WrongAnswer,
    one_pad_each,
    read_answer,
    read_version,
)


STOP, PAD = 9, 7
ASKED = Asked(
    prompt_ids=[1, PAD, PAD, PAD, 2],
    short_ids=[1, PAD, 2],
    parts=[{"type": "image_url", "url": "data:image/png;base64,AA"}],
    n=2,
    temperature=0.9,
    top_p=1.0,
    top_k=0,
    max_new_tokens=3,
    seed=5,
    stop_ids=[STOP],
    banned_ids=[PAD],
)
FULL = Weights("policy", "run-3", "run-3")
LORA = Weights("run-3", None, "run-3")


def choice(index: int, ids: list[int], reason: str) -> dict[str, Any]:
    return {
        "index": index,
        "finish_reason": reason,
        "token_ids": ids,
        "logprobs": {"content": [{"token_id": token, "logprob": -0.5, "rank": 1} for token in ids]},
        "weight_versions": [{"version": "run-3", "start": 0, "end": len(ids)}],
    }


GOOD = {
    "model": "policy",
    "prompt_token_ids": [1, PAD, PAD, PAD, 2],
    "choices": [choice(1, [4, 5, 6], "length"), choice(0, [3, STOP], "stop")],
}


def test_a_request_has_one_pad_a_picture_and_names_the_weights() -> None:
    body = ASKED.body(FULL)
    assert body["token_ids"] == [1, PAD, 2]
    assert body["content_parts"] == ASKED.parts
    assert (body["model"], body["cache_salt"], body["return_token_ids"]) == ("policy", "run-3", True)
    sampling = body["sampling_params"]
    assert (sampling["n"], sampling["seed"], sampling["logprobs"], sampling["max_tokens"]) == (2, 5, 0, 3)
    assert sampling["stop_token_ids"] == [STOP]
    assert sampling["logit_bias"] == {str(PAD): -100.0}
    text = Asked(**{**vars(ASKED), "parts": []}).body(LORA)
    assert "content_parts" not in text
    assert text["model"] == "run-3"


def test_choices_come_back_in_their_order_with_a_number_a_token() -> None:
    first, second = read_answer(GOOD, ASKED, FULL)
    assert (first.token_ids, first.logps, first.finish_reason) == ((3, STOP), (-0.5, -0.5), "stop")
    assert (second.token_ids, second.finish_reason) == ((4, 5, 6), "length")


@pytest.mark.parametrize(
    ("change", "message", "retryable", "stale"),
    [
        ({"prompt_token_ids": [1, PAD, PAD, PAD, PAD, 2]}, r"prompt of 6 tokens .* ours of 5", False, False),
        ({"prompt_token_ids": [1, PAD, PAD, PAD, 3]}, "not ours", False, False),
        ({"prompt_token_ids": None}, "prompt of no tokens", False, False),
        ({"choices": GOOD["choices"][:1]}, "1 completions, expected 2", True, False),
        ({"model": "other"}, "an answer of 'other'", True, True),
        ({"finish_reason": "abort"}, "ended by 'abort'", True, False),
        ({"finish_reason": "length"}, "without sense", True, False),
        ({"token_ids": []}, "of 0 tokens", True, False),
        ({"token_ids": [3, 4, 5, STOP]}, "of 4 tokens", True, False),
        ({"logprobs": None}, "log-probs of 0 tokens", True, False),
        ({"token_ids": [4, STOP]}, "not those of the 2", True, False),
        ({"weight_versions": None}, "by the weights none, expected run-3", True, True),
        ({"weight_versions": [{"version": "default", "start": 0, "end": 2}]}, "weights default", True, True),
        ({"weight_versions": [{"version": "run-3", "start": 0, "end": 1}]}, "expected run-3", True, True),
        ({"logprob": -9999.0}, "a log-prob of -9999", True, False),
        ({"logprob": float("nan")}, "a log-prob of nan", True, False),
        ({"logprob": None}, "a log-prob of None", True, False),
        ({"logprob": 0.5}, "a log-prob of 0.5", True, False),
        ({"banned": True}, r"ids \[7\], which stand for media", False, False),
    ],
)
def test_nothing_wrong_is_learnt_from(change: dict[str, Any], message: str, retryable: bool, stale: bool) -> None:
    answer = deepcopy(GOOD)
    spoilt = next(each for each in answer["choices"] if each["index"] == 0)
    for key, value in change.items():
        if key in answer:
            answer[key] = value
        elif key in spoilt:
            spoilt[key] = value
        elif key == "banned":
            spoilt["token_ids"] = [PAD, STOP]
            spoilt["logprobs"]["content"][0]["token_id"] = PAD
        else:
            spoilt["logprobs"]["content"][0][key] = value
    with pytest.raises(WrongAnswer, match=message) as caught:
        read_answer(answer, ASKED, FULL)
    assert (caught.value.retryable, caught.value.stale) == (retryable, stale)


@pytest.mark.parametrize("answer", [None, {}, [], {"choices": 3, "prompt_token_ids": []}])
def test_an_answer_of_something_else_is_named(answer: Any) -> None:
    with pytest.raises(WrongAnswer, match=r"0\.32"):
        read_answer(answer, ASKED, FULL)


def test_an_adapter_is_known_by_its_name_alone() -> None:
    named = {**GOOD, "model": "run-3"}
    assert len(read_answer(named, ASKED, LORA)) == 2
    with pytest.raises(WrongAnswer, match="an answer of 'policy'"):
        read_answer(GOOD, ASKED, LORA)


def test_runs_of_pads_become_one_each() -> None:
    assert one_pad_each([1, PAD, PAD, 2, PAD, 3], {PAD}) == ([1, PAD, 2, PAD, 3], 2)
    assert one_pad_each([4, 4, 5], {PAD}) == ([4, 4, 5], 0)


def test_versions_are_read_or_nonsense() -> None:
    assert read_version("0.32.0") == (0, 32)
    assert read_version("0.33.1rc1.dev3+gabc") == (0, 33)
    assert read_version("dev") is None
    assert read_version(None) is None


def test_a_difference_of_rounding_passes_and_any_other_does_not() -> None:
    assert mean_difference([[-1.0, -2.0], [-3.0]], [[-1.0, -2.3], [-2.7]]) == pytest.approx(0.2)
    check_difference(0.04, half=False)
    check_difference(0.4, half=True)
    for mean, half in ((0.06, False), (0.6, True), (float("nan"), True)):
        with pytest.raises(ServersFailed, match="differ from the trainer's"):
            check_difference(mean, half=half)
