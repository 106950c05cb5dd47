"""Rollouts before a real vLLM 0.32 on the CPU: `make test-vllm`. `RECORD=1` writes its answers to `tests/data/vllm`.

`HIND_VLLM_URL` names a server that runs already, with the command line of `serve`; it is left running.
"""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from llamafactory_hind.engines.vllm.engine import VllmEngine
from shared.rollouts import RolloutSetup
from shared.served_rollouts import FULL, HOW, LORA, difference, nudge, prompts, served
from shared.stages import history, run


pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.train]
ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "vllm"
PORT = 8191
KEYS = ["a", "b", "c"]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
}
OPTIONS = [
    "--served-model-name",
    "policy",
    "--host",
    "127.0.0.1",
    "--dtype",
    "float32",
    "--max-model-len",
    "2048",
    "--enforce-eager",
    "--enable-scale-out",
    "--logprobs-mode",
    "processed_logprobs",
    "--no-enable-chunked-prefill",
    "--max-num-batched-tokens",
    "32768",
    "--enable-lora",
    "--max-loras",
    "2",
    "--max-lora-rank",
    "8",
]
START_SECONDS = 900


def serve(model: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a server; `vllm serve` of the CPU wheel does not start, its old module does."""
    python = ROOT / ".venvs" / "vllm" / "bin" / "python"
    words = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(PORT)]
    media = ["--limit-mm-per-prompt", '{"image": 4, "video": 1}']
    environment = {**os.environ, **ENVIRONMENT}
    with open(log, "w") as said:
        return subprocess.Popen([*words, *OPTIONS, *media], env=environment, stdout=said, stderr=said, cwd=log.parent)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def world(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model of the offline world if it is there (`make demo`), else an untrained one."""
    trained = ROOT / "build" / "toyworld" / "base"
    folder = tmp_path_factory.mktemp("world")
    given = os.environ.get("HIND_VLLM_MODEL")
    (folder / "tiny").symlink_to(given or (trained if trained.is_dir() else small_world / "tiny"))
    for name in ("images", "clips"):
        (folder / name).symlink_to(small_world / name)
    return folder


@pytest.fixture(scope="module")
def server(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if "HIND_VLLM_URL" in os.environ:
        yield SimpleNamespace(url=os.environ["HIND_VLLM_URL"])
        return
    url, log = f"http://127.0.0.1:{PORT}", tmp_path_factory.mktemp("server") / "log"
    assert not is_up(url), f"something else answers at {url}"
    process = serve((world / "tiny").resolve(), log)
    try:
        end = time.monotonic() + START_SECONDS
        while not is_up(url):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(1)
        yield SimpleNamespace(url=url)
    finally:
        process.kill()  # it may ignore SIGTERM
        process.wait()


@pytest.fixture
def opened(world: Path, server: Any, tmp_path: Path) -> Iterator[Any]:
    engines: list[VllmEngine] = []

    def open_(sync: str, **tuning: Any) -> tuple[RolloutSetup, VllmEngine]:
        setup = RolloutSetup(world, tuning={**{"lora": LORA, "full": FULL}[sync], **tuning})
        engines.append(served(setup, tmp_path / sync, server, rollout_sync=sync).served)
        return setup, engines[-1]

    yield open_
    for engine in engines:
        engine.close()


def ask(server: Any, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_five_steps_earn_what_hf_earns(world: Path, server: Any, tmp_path: Path) -> None:
    """GRPO on the trained model of the offline world: 64 completions a step, mean rewards of both engines within 0.1."""
    toyworld = (world / "tiny").resolve().parent
    if not (toyworld / "rows").is_dir():
        pytest.skip("build/toyworld is not there; `make demo` makes it")
    settings = yaml.safe_load((ROOT / "yaml_configs" / "toyworld" / "grpo.yaml").read_text())
    for key in ("load_best_model_at_end", "eval_dataset", "eval_steps", "save_steps", "save_total_limit"):
        settings.pop(key)
    settings |= {
        "model_name_or_path": str(world / "tiny"),
        "dataset_dir": str(toyworld),
        "media_dir": str(toyworld),
        "max_samples": 64,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "learning_rate": 2.0e-3,
        "max_steps": 5,
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "plot_loss": False,
        "rollout_engine": None,
    }
    keys = {"rollout_engine": "vllm", "rollout_server": server.url}
    rewards = {}
    for name, more in (("hf", {}), ("vllm", keys)):
        out = run({**settings, **more}, output_dir=str(tmp_path / name))
        rewards[name] = history(out, "reward")
        print(f"\n{name}: rewards {rewards[name]}, seconds to write {history(out, 'timing/rollout')}")
    print("difference a token", history(out, "rollout/logp_diff_mean"), "ratio", history(out, "rollout/ratio_mean"))
    assert sum(rewards["vllm"]) / 5 == pytest.approx(sum(rewards["hf"]) / 5, abs=0.1)
    assert max(history(out, "rollout/logp_diff_mean")) < 0.01


@pytest.mark.parametrize("sync", ["lora", "full"])
def test_prompts_log_probs_and_weights_are_the_trainers(sync: str, opened: Any, server: Any) -> None:
    """Text, one picture, two: ids are checked in every answer; log-probs follow each change of the weights; seeds hold."""
    setup, engine = opened(sync)
    banned, engine.banned_ids = engine.banned_ids, []  # a ban changes the server's numbers by what it takes away
    asked = prompts(setup)
    groups: list[Any] = []
    for seed in range(2):
        nudge(setup.model, seed)
        started = time.perf_counter()
        engine.sync(setup.model)
        seconds = time.perf_counter() - started
        groups = engine.generate_prompts(asked, KEYS, HOW)
        found = difference(setup, asked, groups)
        print(f"\n{sync}: difference {found:.2e}, sync {seconds:.2f} s")
        assert found < 1e-3
    assert engine.generate_prompts(asked[1:2], KEYS[1:2], HOW)[0] == groups[1]
    engine.banned_ids = banned
    without = engine.generate_prompts(asked, KEYS, HOW)
    print(f"{sync}: with media ids banned {difference(setup, asked, without):.2e}")
    if sync == "lora" and os.environ.get("RECORD"):
        record(server, engine, asked)
    nudge(setup.model, 2)
    old = difference(setup, asked, groups)
    print(f"{sync}: to the old weights {old:.2f}")
    assert old > 0.05


def test_a_full_sync_waits_for_what_is_under_way(opened: Any, server: Any) -> None:
    """A request that writes 300 tokens ends whole, on the weights it began with; the next one has the new ones."""
    setup, engine = opened("full")
    engine.sync(setup.model)
    before = ask(server, "/weight_info")["weight_version"]
    request = engine._asked(prompts(setup)[0], "long", replace(HOW, n=1, max_new_tokens=300))[0]
    body = request.body(engine.fleet.weights)
    body["sampling_params"]["stop_token_ids"] = []
    answers: list[Any] = []
    long = threading.Thread(target=lambda: answers.append(ask(server, "/inference/v1/generate", body)))
    long.start()
    time.sleep(0.3)
    nudge(setup.model, 5)
    engine.sync(setup.model)
    long.join()
    (choice,) = answers[0]["choices"]
    assert len(choice["token_ids"]) == 300
    assert [span["version"] for span in choice["weight_versions"]] == [before]
    assert ask(server, "/weight_info")["weight_version"] == engine.fleet.weights.version != before
    asked, engine.banned_ids = prompts(setup), []
    assert difference(setup, asked, engine.generate_prompts(asked, KEYS, HOW)) < 1e-3


def record(server: Any, engine: VllmEngine, asked: list[Any]) -> None:
    """Write requests and answers as they are, pictures shortened."""
    DATA.mkdir(parents=True, exist_ok=True)
    found = {"version": ask(server, "/version"), "weight_info": ask(server, "/weight_info")}
    models = ask(server, "/v1/models")
    for entry in models["data"]:
        entry.pop("permission", None)
        entry["root"] = Path(entry["root"]).name
    found["models"] = models
    for name, prompt in zip(("image", "two_images", "text"), asked, strict=True):
        body = engine._asked(prompt, name, replace(HOW, n=2))[0].body(engine.fleet.weights)
        answer = ask(server, "/inference/v1/generate", body)
        for part in body.get("content_parts", []):
            part["url"] = part["url"][:40]
        found[f"generate_{name}"] = {"request": body, "answer": answer}
    for name, content in found.items():
        (DATA / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
