"""Runs of a stage through the host's own `run_exp` or `llamafactory-cli`, and what is read of them from disk."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from llamafactory_hind.config import ConfigError, check_train
from llamafactory_hind.config.checks import defaults


BASE = {
    "stage": "grpo",
    "do_train": True,
    "finetuning_type": "full",
    "template": "qwen2_vl",
    "flash_attn": "sdpa",
    "dataset": "prompts",
    "cutoff_len": 1024,
    "num_generations": 4,
    "max_new_tokens": 8,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1.0e-3,
    "lr_scheduler_type": "constant",
    "max_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "seed": 3,
    "disable_gradient_checkpointing": True,
    "preprocessing_num_workers": 1,
    "dataloader_num_workers": 0,
}


PLAIN_STEPS = {
    "optim": "sgd",
    "learning_rate": 0.5,
}  # Adam would blow the last digit of a gradient near 0 up to a step


REWARD = '''
def vowels(completions, id, **columns):
    """Share of vowels; one row, a video, has no such reward."""
    return [None if row == "row-3" else sum(c in "aeiou" for c in text) / max(len(text), 1)
            for text, row in zip(completions, id)]
'''


def places(world: Path, prompts: Path, out: Path) -> dict[str, Any]:
    return {
        "model_name_or_path": str(world / "tiny"),
        "dataset_dir": str(prompts),
        "media_dir": str(world),
        "output_dir": str(out),
        "reward_funcs": [f"{prompts / 'reward.py'}:vowels"],
    }


def found_problems(given: dict) -> dict[str, str]:
    host_keys = {
        "stage",
        "temperature",
        "streaming",
        "pref_beta",
        "metric_for_best_model",
        "deepspeed",
        "max_new_tokens",
    }
    known = {*defaults(), *host_keys, "fsdp", "ref_model", "pissa_init"}
    try:
        check_train(given, known=known, host_stages=["sft"])
    except ConfigError as error:
        assert len({problem.key for problem in error.problems}) == len(error.problems)
        return {problem.key: str(problem) for problem in error.problems}
    return {}


def run(settings: dict[str, Any], **changes: Any) -> Path:
    """Train in this process, as `llamafactory-cli train` does after reading its YAML; return the output folder."""
    from llamafactory.train.tuner import run_exp

    settings = {**settings, **changes}
    run_exp({key: value for key, value in settings.items() if value is not None})
    return Path(settings["output_dir"])


def history(out: Path, key: str = "loss") -> list[float]:
    state = json.loads((out / "trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


def loaded(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same(first: Path, second: Path, *, atol: float) -> None:
    """Two runs logged the same losses and ended at the same weights."""
    assert history(first) == pytest.approx(history(second), abs=atol)
    one, two = loaded(first), loaded(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=atol, rtol=1e-3, msg=name)


def lora(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**settings, "finetuning_type": "lora", "lora_rank": 4, "lora_target": "all", **changes}


def command(settings: dict[str, Any], file: Path, **environment: str) -> subprocess.Popen:
    """Start the real `llamafactory-cli train FILE`, one thread a process."""
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    yaml = file.with_suffix(".yaml")
    yaml.write_text(file.read_text())  # JSON is YAML
    binary = Path(sys.executable).with_name("llamafactory-cli")
    path = f"{binary.parent}{os.pathsep}{os.environ['PATH']}"  # the host starts `torchrun` by its bare name
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
    log = open(file.with_suffix(".log"), "w")  # noqa: SIM115  the process outlives this function
    return subprocess.Popen(
        [str(binary), "train", str(yaml)],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextmanager
def extensions() -> Iterator[dict[str, str]]:
    """DeepSpeed compiles a small extension once (a minute), one test at a time: a lock that a killed run left is then nobody's."""
    folder = Path(__file__).resolve().parents[2] / "build" / "torch_extensions"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "tests.lock"):
        for lock in folder.glob("**/lock"):
            lock.unlink()
        yield {"TORCH_EXTENSIONS_DIR": str(folder)}


def finished(process: subprocess.Popen, file: Path) -> None:
    code = process.wait(timeout=600)  # with the extension to compile on a busy machine
    assert code == 0, file.with_suffix(".log").read_text()[-3000:]
