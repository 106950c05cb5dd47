"""A teacher for tests: another Qwen2.5-VL, wider than the tiny one of the world, with its tokenizer and processor."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from llamafactory.hparams import DataArguments
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from llamafactory_hind.engines.teachers.local import run_settings
from llamafactory_hind.engines.teachers.plan import read_teacher_plan
from llamafactory_hind.engines.teachers.pool import TeacherPool
from shared.rollouts import RolloutSetup
from shared.store import kept


def write_teacher(world: Path, out: Path, *, words: int | None = None, dropout: float = 0.0, seed: int = 1) -> Path:
    """Write a checkpoint of width 192 (the student has 128) with `words` rows in its vocabulary."""
    out.mkdir(parents=True, exist_ok=True)
    for file in (world / "tiny").iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json":
            shutil.copy(file, out)
    config = AutoConfig.from_pretrained(world / "tiny")
    config.text_config.hidden_size, config.text_config.num_attention_heads = 192, 6  # heads as wide as the student's
    config.vision_config.out_hidden_size = 192
    config.text_config.attention_dropout = dropout
    if words is not None:
        config.text_config.vocab_size = words
        config.vocab_size = words
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Qwen2_5_VLForConditionalGeneration(config).save_pretrained(out)
    return out


def kept_teacher(world: Path, **options: Any) -> Path:
    """Return a checkpoint of `write_teacher` that all tests read."""
    name = "-".join(["teacher", *(f"{key}_{value}" for key, value in sorted(options.items()))])
    return kept(name, lambda folder: write_teacher(world, folder, **options))


def write_yaml(path: Path, content: Mapping[str, Any]) -> str:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
    return str(path)


def settings_of(setup: RolloutSetup, **changes: Any) -> dict[str, Any]:
    return {**run_settings(setup.model_args, DataArguments(template="qwen2_vl")), **changes}


def open_teachers(setup: RolloutSetup, teacher: str | Path, **options: Any) -> TeacherPool:
    return TeacherPool(
        read_teacher_plan(str(teacher)),
        setup.loaded,
        settings=options.pop("settings", settings_of(setup)),
        **{"distributions": True, **options},
    )
