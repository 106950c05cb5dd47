"""Runs of a stage through the host's own `run_exp` or `llamafactory-cli`, and what is read of them from disk."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llamafactory_hind.config import ConfigError, check_train
from llamafactory_hind.config.checks import defaults
from shared.warm import Processes


TRAIN = (
    "from llamafactory.train.tuner import run_exp; run_exp()"  # all that the host's launcher.py does under torchrun
)
# On the CPU, DeepSpeed compiles an all-reduce through shared memory (a minute); without it, it takes that of torch.
NO_SHARED_MEMORY = "import deepspeed.comm.torch as ds; ds.build_shm_op = lambda: None\n"


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


ZERO2 = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "zero_optimization": {"stage": 2},
}


REWARD = '''
def vowels(completions, id, **columns):
    """Share of vowels; one row, a video, has no such reward."""
    return [None if row == "row-3" else sum(c in "aeiou" for c in text) / max(len(text), 1)
            for text, row in zip(completions, id)]
'''


def write_prompts(world: Path, folder: Path) -> Path:
    """Write twelve rollout rows over the small world: one image, two images, text, video in turn; four more to evaluate."""
    images = sorted(path.name for path in (world / "images").glob("*.png"))
    clip = next((world / "clips").glob("*.mp4")).name
    media = [
        lambda i: {"images": [f"images/{images[i]}"], "kind": "image"},
        lambda i: {"images": [f"images/{images[i]}", f"images/{images[i + 1]}"], "kind": "two"},
        lambda i: {"kind": "text"},
        lambda i: {"videos": [f"clips/{clip}"], "kind": "video"},
    ]
    marks = ["<image>", "<image><image>", "", "<video>"]
    rows = [
        {
            "id": f"row-{i}",
            "prompt": f"{marks[i % 4]}What is told of thing {i}?",
            "answer": "moss",
            "images": [],
            "videos": [],
            **media[i % 4](i),
        }
        for i in range(16)
    ]
    for name, part in (("prompts", rows[:12]), ("held_out", rows[12:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    info = {name: {"file_name": f"{name}.json", "formatting": "rollout"} for name in ("prompts", "held_out")}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "reward.py").write_text(REWARD)
    return folder


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


def written(settings: dict[str, Any], file: Path) -> Path:
    """Write settings beside `file` as YAML."""
    yaml = file.with_suffix(".yaml")
    yaml.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))  # JSON is YAML
    return yaml


def warm(settings: dict[str, Any], file: Path, *, ranks: int = 1, **environment: str) -> Processes:
    """Start what `llamafactory-cli train FILE` (or `torchrun`, for several ranks) runs in processes of their own."""
    code = TRAIN if "deepspeed" not in settings else NO_SHARED_MEMORY + TRAIN
    words = [str(written(settings, file))]
    return Processes(code, words, file.with_suffix(".log"), ranks=ranks, **environment)


def fsdp2(settings: dict[str, Any], file: Path) -> str:
    """Train on two processes that hold half of every weight each, see `shared.fsdp_on_cpu`; return what they print."""
    code = "from shared.fsdp_on_cpu import main; main()"
    return Processes(code, [str(written(settings, file))], file.with_suffix(".log"), ranks=2).finish()


def command(settings: dict[str, Any], file: Path, **environment: str) -> None:
    """Run the real `llamafactory-cli train FILE` to its end, one thread a process; its output is in `file` + `.log`."""
    binary = Path(sys.executable).with_name("llamafactory-cli")
    path = f"{binary.parent}{os.pathsep}{os.environ['PATH']}"  # the host starts `torchrun` by its bare name
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
    log = file.with_suffix(".log")
    with open(log, "w") as said:
        words = [str(binary), "train", str(written(settings, file))]
        done = subprocess.run(words, env=environment, stdout=said, stderr=subprocess.STDOUT, timeout=600, check=False)
    assert done.returncode == 0, log.read_text()[-3000:]


def wait_for(path: Path, process: Processes) -> None:
    """Wait until a running process has written a file."""
    while not path.is_file():
        assert process.running(), process.log.read_text()[-3000:]
        time.sleep(0.01)
