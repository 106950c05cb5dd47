"""The stand-in answers as vLLM 0.32 does: the same fields with the same types, held to recorded answers (`make test-vllm`)."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.engines.vllm.protocol import Asked, Weights, WrongAnswer, read_answer
from shared.rollouts import RolloutSetup
from shared.served_rollouts import HOW, LORA, prompts, served
from shared.vllm_server import VllmServer


DATA = Path(__file__).resolve().parents[2] / "data" / "vllm"


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def differing(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Where fields or types differ; an empty list or null says nothing of a type."""
    if ours is None or theirs is None:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [f"{place}/{key}" for key in ours.keys() ^ theirs.keys()]
        return keys + [
            line for key in ours.keys() & theirs.keys() for line in differing(ours[key], theirs[key], f"{place}/{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list):
        return differing(ours[0], theirs[0], f"{place}[]") if ours and theirs else []
    same = type(ours) is type(theirs) or {type(ours), type(theirs)} == {int, float}
    return [] if same else [f"{place}: {type(ours).__name__}, {type(theirs).__name__}"]


@pytest.fixture(scope="module")
def answers(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    setup = RolloutSetup(small_world, tuning=LORA)
    with VllmServer(small_world / "tiny") as server:
        engine = served(setup, tmp_path_factory.mktemp("run"), server).served
        engine.sync(setup.model)
        engine.generate_prompts(prompts(setup), ["a", "b", "c"], HOW)

        def get(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        found = {name: get(f"/{path}") for name, path in (("version", "version"), ("weight_info", "weight_info"))}
        found["models"] = get("/v1/models")
        for name, body in zip(("image", "two_images", "text"), server.bodies[-3:], strict=True):
            found[f"generate_{name}"] = {"request": body, "answer": get("/inference/v1/generate", body)}
        yield found
        engine.close()


@pytest.mark.parametrize("name", ["generate_image", "generate_two_images", "generate_text"])
def test_what_is_written_has_the_recorded_shape(name: str, answers: dict[str, Any]) -> None:
    """Requests, too: what was recorded was asked in the words of today."""
    real = recorded(name)
    assert not differing(answers[name]["answer"], real["answer"])
    ours = {
        **answers[name]["request"],
        "sampling_params": {**answers[name]["request"]["sampling_params"], "logit_bias": None},
    }
    assert not differing(ours, {**real["request"]})


@pytest.mark.parametrize("name", ["version", "weight_info"])
def test_other_routes_have_the_recorded_shape(name: str, answers: dict[str, Any]) -> None:
    assert not differing(answers[name], recorded(name))


def test_models_are_listed_as_recorded(answers: dict[str, Any]) -> None:
    ours, real = (
        {entry["parent"] is None for entry in listed["data"]} for listed in (answers["models"], recorded("models"))
    )
    assert ours == real == {True, False}
    fields = set(answers["models"]["data"][0])
    assert all(fields <= set(entry) for entry in recorded("models")["data"])


@pytest.mark.parametrize("name", ["generate_image", "generate_two_images", "generate_text"])
def test_recorded_answers_can_be_learnt_from(name: str) -> None:
    """The very bytes of vLLM 0.32 pass every check, and none with another prompt."""
    real = recorded(name)
    request, answer = real["request"], real["answer"]
    sampling = request["sampling_params"]
    asked = Asked(
        prompt_ids=answer["prompt_token_ids"],
        short_ids=request["token_ids"],
        parts=request.get("content_parts", []),
        n=sampling["n"],
        temperature=sampling["temperature"],
        top_p=sampling["top_p"],
        top_k=sampling["top_k"],
        max_new_tokens=sampling["max_tokens"],
        seed=sampling["seed"],
        stop_ids=sampling["stop_token_ids"],
        banned_ids=[int(token) for token in sampling["logit_bias"]],
    )
    weights = Weights(request["model"], None, request["cache_salt"])
    choices = read_answer(answer, asked, weights)
    assert len(choices) == sampling["n"]
    assert all(len(choice.logps) == len(choice.token_ids) for choice in choices)
    pads = len(answer["prompt_token_ids"]) - len(request["token_ids"])
    assert (pads > 0) is bool(asked.parts)
    with pytest.raises(WrongAnswer, match="not ours"):
        read_answer(answer, Asked(**{**vars(asked), "prompt_ids": request["token_ids"] + [1]}), weights)
