"""The engine before the stand-in server: what it sends, whose weights write, and each fault of a server."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.vllm import fleet as fleet_module
from llamafactory_hind.engines.vllm.agreement import ServersFailed
from llamafactory_hind.engines.vllm.engine import VllmEngine
from llamafactory_hind.engines.vllm.rows import check_served_rows
from llamafactory_hind.engines.vllm.weights import merged_state, why_not_lora
from llamafactory_hind.trainers.rollouts.batch import prompt_of
from shared.rollouts import RolloutSetup
from shared.served_rollouts import FULL, HOW, LORA, difference, nudge, prompts, served
from shared.vllm_server import Faults, VllmServer


KEYS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def servers(small_world: Path) -> Iterator[list[VllmServer]]:
    with VllmServer(small_world / "tiny") as one, VllmServer(small_world / "tiny") as other:
        yield [one, other]


@pytest.fixture(scope="module")
def setups(small_world: Path) -> dict[str, RolloutSetup]:
    return {"lora": RolloutSetup(small_world, tuning=LORA), "full": RolloutSetup(small_world, tuning=FULL)}


@pytest.fixture(autouse=True)
def fresh(servers: list[VllmServer], monkeypatch: pytest.MonkeyPatch) -> None:
    for server in servers:
        server.forget()
        server.faults = Faults()
        server.bodies.clear()
        server.calls.clear()
    monkeypatch.setattr(fleet_module, "backoff", lambda attempt, retry_after: 0.0)
    monkeypatch.setattr(fleet_module, "LOOK_SECONDS", 0.02)


@pytest.fixture
def opened(setups: dict[str, RolloutSetup], servers: list[VllmServer], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    engines = []

    def open_(sync: str = "lora", count: int = 1, **keys: Any) -> VllmEngine:
        engine = served(setups[sync], tmp_path / sync, *servers[:count], rollout_sync=sync, **keys).served
        engines.append(engine)
        return engine

    yield open_
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("sync", ["lora", "full"])
def test_what_is_written_comes_from_the_policy_as_it_is(
    sync: str, setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    """Text, one picture, two pictures: log-probs are the policy's after each change of its weights, and not before."""
    setup, engine = setups[sync], opened(sync)
    asked = prompts(setup)
    for seed in range(2):
        nudge(setup.model, seed)
        engine.sync(setup.model)
        groups = engine.generate_prompts(asked, KEYS, HOW)
        assert [len(group) for group in groups] == [3, 3, 3]
        assert difference(setup, asked, groups) < 1e-4
    nudge(setup.model, 2)
    assert difference(setup, asked, groups) > 0.05
    alone = engine.generate_prompts(asked[1:2], KEYS[1:2], HOW)
    assert alone[0] == groups[1]  # a seed gives the same alone and among others
    pads = [
        body["token_ids"].count(setup.loaded.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        for body in servers[0].bodies
    ]
    assert pads[:3] == [1, 2, 0]
    folders = list(engine.options.folder.glob("*/*"))
    assert [folder.name for folder in folders] == ["step-2"]  # that of the weights before is gone
    if sync == "lora":
        assert list(servers[0].adapters) == [servers[0].bodies[-1]["model"]]
        assert not servers[0].calls["/pause"]
    else:
        assert servers[0].calls["/pause"] == servers[0].calls["/resume"] == 2


def test_the_greedy_completion_comes_first(setups: dict[str, RolloutSetup], opened: Callable[..., VllmEngine]) -> None:
    setup, engine = setups["lora"], opened()
    engine.sync(setup.model)
    counted: list[int] = []
    (group,) = engine.generate_prompts(
        prompts(setup)[:1], ["a"], replace(HOW, n=2, greedy_first=True), on_generated=counted.append
    )
    (only,) = engine.generate_prompts(prompts(setup)[:1], ["other"], replace(HOW, n=0, greedy_first=True))
    assert group[0].token_ids == only[0].token_ids
    assert (len(group), len(only), counted) == (3, 1, [3])


@pytest.mark.parametrize("kind", ["error", "busy", "reset", "abort", "missing", "version", "nan", "cut", "empty"])
def test_a_fault_that_passes_costs_nothing(
    kind: str, setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    """The whole prompt is asked again with its seed: the completions are those of a server without a fault."""
    setup, engine = setups["lora"], opened()
    engine.sync(setup.model)
    expected = engine.generate_prompts(prompts(setup), KEYS, HOW)
    servers[0].faults.next = [kind, kind]
    assert engine.generate_prompts(prompts(setup), KEYS, HOW) == expected
    assert not servers[0].faults.next


@pytest.mark.parametrize("sync", ["lora", "full"])
def test_a_restarted_server_gets_its_weights_again(
    sync: str, setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    setup, engine = setups[sync], opened(sync)
    engine.sync(setup.model)
    expected = engine.generate_prompts(prompts(setup), KEYS, HOW)
    servers[0].forget()
    assert engine.generate_prompts(prompts(setup), KEYS, HOW) == expected


def test_a_server_that_is_away_is_waited_for(
    setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    """It comes back within `rollout_timeout`, as after a start; else the run stops and says how to go on."""
    import threading

    setup, engine = setups["lora"], opened(rollout_max_retries=0)
    engine.sync(setup.model)
    expected = engine.generate_prompts(prompts(setup), KEYS, HOW)
    servers[0].shut()
    servers[0].forget()
    back = threading.Timer(0.3, servers[0].listen)
    back.start()
    assert engine.generate_prompts(prompts(setup), KEYS, HOW) == expected
    back.join()
    servers[0].shut()
    engine.fleet.patience = 0.1
    try:
        with pytest.raises(ServersFailed, match=r"no server came back within 0.1 s.* goes on from its beginning"):
            engine.generate_prompts(prompts(setup), KEYS, HOW)
    finally:
        servers[0].listen()


def test_a_server_that_hangs_is_left_after_the_timeout(
    setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    setup, engine = setups["lora"], opened()
    engine.sync(setup.model)
    expected = engine.generate_prompts(prompts(setup), KEYS, HOW)
    engine.fleet.client.timeout = 2.0
    servers[0].faults.next = ["hang"]
    assert engine.generate_prompts(prompts(setup), KEYS, HOW) == expected


def test_several_servers_share_the_prompts_and_one_may_die(
    setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine]
) -> None:
    """Numbers do not depend on which server writes; the other one takes over what a dead one leaves."""
    setup, engine = setups["full"], opened("full", count=2)
    engine.sync(setup.model)
    assert servers[0].label == servers[1].label != "default"
    for server in servers:
        server.bodies.clear()
    asked, keys = prompts(setup) * 2, [*KEYS, "d", "e", "f"]
    expected = engine.generate_prompts(asked, keys, HOW)
    assert [len(server.bodies) for server in servers] == [3, 3]
    servers[1].shut()
    try:
        assert engine.generate_prompts(asked, keys, HOW) == expected
    finally:
        servers[1].listen()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"next": ["banned"]}, "which stand for media"),
        ({"expands_twice": True}, "a prompt of .* tokens that is not ours"),
        ({"scale_out": False}, "403.*--enable-scale-out"),
        ({"next": ["abort"] * 9}, r"ended by 'abort'.*given up after 6 attempts"),
    ],
)
def test_what_does_not_pass_stops_the_run(
    fault: dict[str, Any],
    message: str,
    setups: dict[str, RolloutSetup],
    servers: list[VllmServer],
    opened: Callable[..., VllmEngine],
) -> None:
    setup, engine = setups["lora"], opened()
    engine.sync(setup.model)
    servers[0].faults = Faults(**fault)
    with pytest.raises(ServersFailed, match=message):
        engine.generate_prompts(prompts(setup)[:1], KEYS[:1], HOW)


@pytest.mark.parametrize(
    ("sync", "fault", "message"),
    [
        ("lora", {"lora": False}, "404.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.*--enable-lora"),
        ("full", {"dev_mode": False}, "404.*VLLM_SERVER_DEV_MODE=1"),
    ],
)
def test_a_server_that_takes_no_weights_is_told_how_to_start(
    sync: str, fault: dict[str, Any], message: str, setups: Any, servers: list[VllmServer], opened: Any
) -> None:
    engine = opened(sync)
    servers[0].faults = Faults(**fault)
    with pytest.raises(ServersFailed, match=message):
        engine.sync(setups[sync].model)


def test_two_runs_do_not_share_a_server_for_whole_weights(
    setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine], tmp_path: Path
) -> None:
    opened("full").sync(setups["full"].model)
    other = served(setups["full"], tmp_path / "another", servers[0], rollout_sync="full")
    try:
        with pytest.raises(ServersFailed, match="of another run"):
            other.served.sync(setups["full"].model)
    finally:
        other.served._thread.stop()


def test_servers_are_looked_at_before_anything_is_written(
    setups: dict[str, RolloutSetup], servers: list[VllmServer], opened: Callable[..., VllmEngine], monkeypatch: Any
) -> None:
    servers[0].faults.version = "0.31.1"
    with pytest.raises(ServersFailed, match=r"is vLLM 0\.31\.1, expected 0\.32 or newer"):
        opened()
    servers[0].faults = Faults(key="secret-of-the-server")
    with pytest.raises(ServersFailed, match="Is the key right"):
        opened()
    monkeypatch.setenv("ROLLOUT_KEY", "secret-of-the-server")
    opened(rollout_api_key_env="ROLLOUT_KEY").sync(setups["lora"].model)
    with pytest.raises(ValueError, match="rollout_api_key_env"):
        opened(rollout_api_key_env="NO_SUCH_KEY")
    with pytest.raises(ValueError, match="rollout_server: got"):
        opened(rollout_server=["ftp://somewhere"])
    with pytest.raises(ServersFailed, match="Is it running"):
        opened(rollout_server=["http://127.0.0.1:9"], rollout_timeout=5.0)


def test_the_merged_model_is_the_policy_and_the_policy_stays_as_it_is(setups: dict[str, RolloutSetup]) -> None:
    """By twin: peft's own `merge_and_unload` of a copy, to rounding; not a bit of the policy moves."""
    from copy import deepcopy

    model = setups["lora"].model
    nudge(model, 4)
    before = deepcopy(model.state_dict())
    merged = merged_state(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    expected = deepcopy(model).merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("tuning", "reason"),
    [
        (LORA, None),
        (FULL, "no adapter is trained"),
        ({**LORA, "use_dora": True}, "DoRA"),
        ({**LORA, "additional_target": "lm_head"}, "additional_target"),
        ({**LORA, "freeze_vision_tower": False}, "outside the language model"),
    ],
)
def test_an_adapter_that_vllm_would_refuse_or_ignore_is_not_sent_alone(
    tuning: dict[str, Any], reason: str | None, small_world: Path, servers: list[VllmServer], tmp_path: Path
) -> None:
    setup = RolloutSetup(small_world, tuning=tuning)
    found = why_not_lora(setup.model)
    assert (found is None) if reason is None else reason in found
    if reason is not None:
        with pytest.raises(ValueError, match="rollout_sync: got 'lora', expected 'full' or 'auto'"):
            served(setup, tmp_path, servers[0], rollout_sync="lora")


def test_videos_are_refused_with_their_rows() -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"row_id": ["r1", "r2"], "videos": [[], ["clip.mp4"]], "audios": [[], []]})
    with pytest.raises(ValueError, match=r"r2, field `videos`: got 1, expected none"):
        check_served_rows({"held_out": rows})
    check_served_rows(rows.select([0]))
    check_served_rows(None)


def test_a_prompt_that_the_server_would_see_otherwise_is_refused(
    setups: dict[str, RolloutSetup], opened: Callable[..., VllmEngine]
) -> None:
    setup, engine = setups["lora"], opened()
    (video,) = [prompt_of(feature) for feature in setup.features(["video"])]
    with pytest.raises(ValueError, match="a video or an audio"):
        engine.generate_prompts([video], ["v"], HOW)
    picture = prompts(setup)[0]
    short = replace(picture, request=replace(picture.request, images=picture.request.images * 2))
    with pytest.raises(ValueError, match="1 runs of picture tokens for 2 pictures"):
        engine.generate_prompts([short], ["p"], HOW)
