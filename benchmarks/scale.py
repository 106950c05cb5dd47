"""Memory: the estimate of `llamafactory-cli check` for the YAMLs of docs/scale.md, and beside measured peaks of small models.

    python benchmarks/scale.py             # estimates, from shapes of the released models; nothing is downloaded
    python benchmarks/scale.py --measure   # small models through the real `train`, one process a case

Measured is what the peak resident set of a process grows by, from the point where all is imported to the end of two steps.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import llamafactory  # noqa: F401  mends package checks before transformers is used
import yaml
from live_table import growing_table
from llamafactory.hparams.parser import _parse_train_args
from peak import peak_kib
from shapes import configurations, write_heads

from llamafactory_hind.check.memory import Memory, estimate_memory
from llamafactory_hind.check.weights import stored_weights
from llamafactory_hind.trainers.host import HostArguments


ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30


class Recipe(NamedTuple):
    """A YAML, the memory of the GPU it is for in GiB, and the processes of its run."""

    file: str
    room: float
    processes: int = 1


RECIPES = [
    Recipe("scale/one_24gb.yaml", 23),
    Recipe("scale/one_80gb.yaml", 79),
    Recipe("gated_distill/qwen3_vl_2b_gated_hints.yaml", 79),
    Recipe("scale/eight_80gb.yaml", 79, 8),
    Recipe("scale/nodes_vllm.yaml", 79, 16),
]
# name -> keys over those of `small_settings`: hidden width 512, 8 layers
SMALL: dict[str, dict[str, Any]] = {
    "full": {"finetuning_type": "full"},
    "full_kl": {"finetuning_type": "full", "kl_beta": 0.04},
    "lora": {"finetuning_type": "lora", "lora_target": "all", "lora_rank": 16},
    "lora_long": {"finetuning_type": "lora", "lora_target": "all", "max_new_tokens": 192},
}


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Return the keys of its YAML."""
    return yaml.safe_load((ROOT / "yaml_configs" / recipe.file).read_text())


def estimate(settings: dict[str, Any], processes: int = 1) -> Memory:
    """Return what `check` estimates, without its look at rows."""
    args = HostArguments(*_parse_train_args({**settings, "use_cpu": True}))
    weights = stored_weights(Path(settings["model_name_or_path"]))
    assert weights is not None, f"{settings['model_name_or_path']} has no safetensors"
    return estimate_memory(args, weights, processes)


def estimates(folder: Path) -> dict[str, Memory]:
    """Estimate every recipe; models are looked for below the working directory, as a run does.

    Args:
        folder: gets the heads of the models' files; it is the working directory for a while.
    """
    for name in configurations():
        write_heads(name, folder / name)
    (folder / "yaml_configs").symlink_to(ROOT / "yaml_configs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        return {recipe.file: estimate(settings_of(recipe), recipe.processes) for recipe in RECIPES}
    finally:
        os.chdir(before)


def small_model(world: Path, hidden: int = 512, layers: int = 8) -> Path:
    """Write the tiny model of a world wider and deeper, with random weights."""
    from grpo import Case, build_model
    from llamafactory.hparams import ModelArguments
    from llamafactory.model import load_tokenizer

    folder = world / f"model_{hidden}_{layers}"
    if not folder.is_dir():
        modules = load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny")))
        case = Case(side=0, words=0, hidden=hidden, layers=layers, vocabulary=8192)
        build_model(case, modules["tokenizer"]).save_pretrained(folder)
        modules["processor"].save_pretrained(folder)
    return folder


def small_settings(world: Path, model: Path, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a run of two steps."""
    return {
        "model_name_or_path": str(model), "stage": "grpo", "do_train": True, "reward_funcs": ["format"],
        "dataset": "color_train", "dataset_dir": str(world), "media_dir": str(world), "template": "qwen2_vl",
        "cutoff_len": 128, "max_new_tokens": 64, "num_generations": 8, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2, "max_steps": 2, "learning_rate": 1e-6, "bf16": False, "use_cpu": True,
        "report_to": "none", "save_strategy": "no", "preprocessing_num_workers": 1, **keys,
    }  # fmt: skip


def measure(settings: dict[str, Any]) -> float:
    """Run `train` in this process; return the growth of its peak in bytes."""
    from llamafactory.train.tuner import run_exp

    import llamafactory_hind.stages.grpo  # noqa: F401  imported before the count begins

    before = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
    with tempfile.TemporaryDirectory() as out:
        run_exp({**settings, "output_dir": out})
    return (peak_kib() - before) * 1024.0


def child(settings: dict[str, Any]) -> float:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])["bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="small models, instead of the recipes")
    parser.add_argument("--case", action="append", choices=sorted(SMALL), help="repeatable; default: all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps({"bytes": measure(json.loads(arguments.child))}))
        return
    scratch = Path(tempfile.mkdtemp())
    if not arguments.measure:
        with growing_table("YAML", "GPU, GiB", "estimate, GiB", "measured") as add:
            for recipe, memory in zip(RECIPES, estimates(scratch).values(), strict=True):
                add(recipe.file, f"{recipe.room:.0f}", f"{memory.peak / GIB:.1f}", "not measured")
        return
    from llamafactory_hind.toyworld.build import build

    build(scratch, seed=0, size="small")
    model = small_model(scratch)
    with growing_table("case", "estimate, MiB", "measured, MiB", "measured / estimate") as add:
        for name in arguments.case or SMALL:
            settings = small_settings(scratch, model, SMALL[name])
            expected, found = estimate(settings).peak / 2**20, child(settings) / 2**20
            add(name, f"{expected:.0f}", f"{found:.0f}", f"{found / expected:.2f}")


if __name__ == "__main__":
    main()
