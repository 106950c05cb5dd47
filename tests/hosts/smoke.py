"""Two `stage: kepo` steps through the real command line, on whichever LLaMA-Factory this Python has (`make test-hosts`).

    python tests/hosts/smoke.py [--nproc 2]

A script, not a pytest file: it runs in environments that hold the host, this package and no more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from llamafactory_hind.toyworld.build import build


STEPS = 2


def write_pairs(world: Path) -> None:
    """Add a ranking dataset of four rows to the world: an image, two images, a clip, text alone."""
    images = sorted(str(path.relative_to(world)) for path in (world / "images").glob("*.png"))
    clip = next(str(path.relative_to(world)) for path in (world / "clips").glob("*.mp4"))
    media = [{"images": images[:1]}, {"images": images[1:3]}, {"videos": [clip]}, {}]
    rows = [
        {
            "id": f"row-{number}",
            "question": "What is told of this thing?",
            "answer": "moss",
            "images": [],
            "videos": [],
            "chosen": "it eats moss",
            "rejected": "it lives in caves",
            **files,
        }
        for number, files in enumerate(media)
    ]
    (world / "pairs.json").write_text(json.dumps(rows))
    info = json.loads((world / "dataset_info.json").read_text())
    info["pairs"] = {"file_name": "pairs.json", "formatting": "hindsight", "ranking": True, "target": "knowledge"}
    (world / "dataset_info.json").write_text(json.dumps(info))


def settings(world: Path, out: Path) -> dict[str, object]:
    """Return a short LoRA run."""
    return {
        "stage": "kepo",
        "do_train": True,
        "model_name_or_path": str(world / "tiny"),
        "template": "qwen2_vl",
        "dataset_dir": str(world),
        "dataset": "pairs",
        "finetuning_type": "lora",
        "lora_rank": 4,
        "lora_target": "q_proj,v_proj",  # with `all`, 0.9.4 also picks layers of the image tower that PEFT cannot adapt
        "output_dir": str(out),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": "none",
        "kepo_gap_weight": True,
        "preprocessing_num_workers": 1,
        "disable_gradient_checkpointing": True,
    }


def main() -> None:
    """Build, train, and read what the host wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nproc", type=int, default=1, help="processes under torchrun; 1 runs without it")
    nproc = parser.parse_args().nproc
    programs = Path(sys.executable).parent
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    if nproc > 1:
        env |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(nproc)}
    with tempfile.TemporaryDirectory() as folder:
        world, out = Path(folder) / "world", Path(folder) / "out"
        build(world, seed=0, size="small")
        write_pairs(world)
        config = Path(folder) / "kepo.yaml"
        config.write_text(json.dumps(settings(world, out)))  # JSON is YAML
        done = subprocess.run(
            [programs / "llamafactory-cli", "train", config, "kepo_beta=0.2"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}\nsmoke: the run failed")
        state = json.loads((out / "trainer_state.json").read_text())
        lines = [line for line in state["log_history"] if "loss" in line]
        if len(lines) != STEPS or not all("rewards/margins" in line for line in lines):
            sys.exit(f"smoke: expected {STEPS} logged steps with rewards, got {lines}")
        if not (out / "adapter_model.safetensors").is_file():
            sys.exit(f"smoke: no adapter was saved; got {sorted(path.name for path in out.iterdir())}")
    names = ("llamafactory", "transformers", "torch", "peft", "trl")
    stack = " ".join(f"{name} {version(name)}" for name in names)
    losses = ", ".join(f"{line['loss']:.4f}" for line in lines)
    print(f"smoke: {STEPS} kepo steps, {nproc} process{'es' if nproc > 1 else ''}, losses {losses} ({stack})")


if __name__ == "__main__":
    main()
