"""The estimate of memory: by hand for a small head of a file, for the shipped recipes, and as docs/scale.md has it."""

import importlib
import json
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from llamafactory.hparams.parser import _parse_train_args

from llamafactory_hind.check.memory import estimate_memory
from llamafactory_hind.check.weights import Weights, stored_weights, text_sizes
from llamafactory_hind.trainers.host import HostArguments


ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
GIB = 2**30
SHAPES = {
    "model.embed_tokens.weight": [100, 8],
    "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.0.mlp.up_proj.weight": [16, 8],
    "model.layers.0.norm.weight": [8],
}
TEXT = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2}


def write(folder: Path, shapes: dict[str, list[int]], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = json.dumps({name: {"dtype": "BF16", "shape": shape} for name, shape in shapes.items()}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    (folder / "config.json").write_text(json.dumps({**TEXT, "intermediate_size": 16, **config}))
    return folder


def arguments(model: Path, out: Path, **keys: Any) -> HostArguments:
    settings = {
        "model_name_or_path": str(model), "stage": "grpo", "template": "qwen2_vl", "output_dir": str(out), "use_cpu": True,
        "reward_funcs": ["accuracy"], "do_train": True, "finetuning_type": "full", "bf16": True, "cutoff_len": 10,
        "max_new_tokens": 5, "num_generations": 4, "per_device_train_batch_size": 2, "report_to": "none", "dataset": "x", **keys,
    }  # fmt: skip
    return HostArguments(*_parse_train_args(settings))


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    found = stored_weights(write(tmp_path / "model", SHAPES))
    assert found is not None
    return found


def test_full_tuning_by_hand(tmp_path: Path, weights: Weights) -> None:
    """800 + 64 + 128 + 8 = 1000 numbers, all trained: 4 bytes each, gradients 4, two moments 8.

    A token's cache is 2 x 1 layer x 2 heads of width 2 = 8 numbers of 2 bytes. 2 prompts of 10 tokens, 4 completions of 5 each:
    60 tokens, 960 bytes. Learning keeps 8 + 10 x 8 + 4 x 16 = 152 numbers a token: 18,240 bytes.
    """
    found = estimate_memory(arguments(tmp_path / "model", tmp_path), weights)
    assert found.kept == {"weights": 4000, "gradients": 4000, "optimizer": 8000}
    assert (found.writing, found.learning) == (960, 18240)
    assert found.peak == 16000 + 18240
    with_kl = estimate_memory(arguments(tmp_path / "model", tmp_path, kl_beta=0.1), weights)
    assert with_kl.kept["reference"] == 2000


def test_lora_parts_of_a_group_and_a_server_by_hand(tmp_path: Path, weights: Weights) -> None:
    """Rank 2 beside 8 x 8 and 16 x 8: 2 x (16 + 24) = 80 numbers of 16 bytes together, 1000 at rest of 2.

    One completion at a time: 2 x (10 + 5) = 30 tokens of 304 bytes.
    """
    keys = {"finetuning_type": "lora", "lora_rank": 2, "lora_target": "all", "loss_micro_batch": 1}
    found = estimate_memory(arguments(tmp_path / "model", tmp_path, **keys), weights)
    assert found.kept == {"weights": 2000 + 320, "gradients": 320, "optimizer": 640}
    assert found.learning == 30 * 304
    keys |= {"rollout_engine": "vllm", "rollout_server": "http://127.0.0.1:1"}
    assert estimate_memory(arguments(tmp_path / "model", tmp_path, **keys), weights).writing == 0


def test_what_is_split_is_divided(tmp_path: Path, weights: Weights) -> None:
    """FSDP2 over 4: all divided, and the weights whole once a step in bfloat16, beside the 960 bytes of the cache."""
    keys = {"fsdp": "full_shard auto_wrap", "fsdp_config": {"version": 2}}
    found = estimate_memory(arguments(tmp_path / "model", tmp_path, **keys), weights, 4)
    assert found.kept == {"weights": 1000, "gradients": 1000, "optimizer": 2000}
    assert found.writing == 960 + 2000
    assert found.optimizer == 8000, "a checkpoint has that of all processes"


def test_teachers_are_counted_where_they_compute(tmp_path: Path, weights: Weights) -> None:
    """Quantised to 4 bits: 192 numbers of 4.5 bits, 808 (embeddings, norms) of 2 bytes; elsewhere: nothing."""
    (tmp_path / "teacher.yaml").write_text(f"model_name_or_path: {tmp_path / 'model'}\nquantization_bit: 4\n")
    (tmp_path / "far.yaml").write_text(f"model_name_or_path: {tmp_path / 'model'}\ndevice: cuda:1\n")
    (tmp_path / "hub.yaml").write_text("model_name_or_path: someone/absent\n")
    found = {}
    for name in ("teacher", "far", "hub"):
        keys = {"stage": "gated_distill", "teacher": str(tmp_path / f"{name}.yaml")}
        found[name] = estimate_memory(arguments(tmp_path / "model", tmp_path, **keys), weights)
    assert found["teacher"].kept["teachers"] == 192 * 4.5 / 8 + 808 * 2
    assert (found["far"].kept["teachers"], found["hub"].kept["teachers"]) == (0, 0)
    assert "someone/absent" in found["hub"].unknown[0]


def test_a_configuration_without_sizes_says_so(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "model" / "config.json").write_text("{}")
    assert text_sizes(tmp_path / "model") is None
    found = estimate_memory(arguments(tmp_path / "model", tmp_path), weights)
    assert (found.writing, found.learning) == (0, 0)
    assert "activations" in found.unknown[0]


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        module = importlib.import_module("scale")
    return module, module.estimates(tmp_path_factory.mktemp("heads"))


def test_every_recipe_fits_its_gpu_and_the_page_has_its_estimate(scale: tuple[ModuleType, dict[str, Any]]) -> None:
    """Counts are those of the released models; one of them is the YAML with a teacher of 32B."""
    module, found = scale
    rows = dict(
        re.findall(r"^\| .*`yaml_configs/([\w/]+\.yaml)`.* \| \d+ \| ([\d.]+) \| not measured \|$", PAGE, re.M)
    )
    for recipe in module.RECIPES:
        memory = found[recipe.file]
        assert not memory.unknown
        assert memory.peak < recipe.room * GIB, recipe.file
        assert rows.pop(recipe.file) == f"{memory.peak / GIB:.1f}"
    assert not rows
    assert found["gated_distill/qwen3_vl_2b_gated_hints.yaml"].kept["teachers"] > 15 * GIB


def test_the_teacher_in_bfloat16_does_not_fit(scale: tuple[ModuleType, dict[str, Any]], monkeypatch, tmp_path) -> None:
    module, _ = scale
    for name in ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-32B-Instruct"):
        module.write_heads(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    recipe = next(each for each in module.RECIPES if each.file.startswith("gated_distill"))
    found = module.estimate({**module.settings_of(recipe), "teacher": "Qwen/Qwen3-VL-32B-Instruct"})
    assert found.kept["teachers"] == pytest.approx(62.1 * GIB, rel=0.01)
    assert found.peak > recipe.room * GIB


def test_every_recipe_has_a_launch_command() -> None:
    commands = "\n".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S))
    files = sorted((ROOT / "yaml_configs" / "scale").glob("*.yaml"))
    assert len(files) == 4
    for file in files:
        assert f"llamafactory-cli train yaml_configs/scale/{file.name}" in commands
    for name in re.findall(r"yaml_configs/[\w/]+\.yaml", PAGE):
        assert (ROOT / name).is_file(), name
    assert {yaml.safe_load(file.read_text())["stage"] for file in files} == {"grpo"}
