"""A step of `stage: gated_distill` beside TRL's `GKDTrainer`; `benchmarks/distill.py --step` runs it."""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from live_table import growing_table
from peak import reset_peak, status


FORMATS = {"seconds": ".2f", "mib": ".0f"}  # of a training step
BETA = 0.5


@dataclass(frozen=True)
class Case:
    """`words`: of a prompt; `vocabulary`: of both models, 0 for the tokenizer's own."""

    words: int = 40
    prompts: int = 1
    group: int = 8
    new_tokens: int = 64
    vocabulary: int = 0
    hidden: int = 128
    teacher_hidden: int = 256
    layers: int = 4


CASES = {
    "small": Case(),
    "long_prompt": Case(words=300),
    "vocabulary": Case(vocabulary=151_936),
}


def write_models(case: Case, folder: Path) -> None:
    """Write student, teacher and the prompts that both sides read."""
    import llamafactory  # noqa: F401  mends trl's package check before trl is imported
    from llamafactory.hparams import ModelArguments
    from llamafactory.model import load_tokenizer
    from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

    from llamafactory_hind.toyworld.build import build

    build(folder / "world", seed=0, size="small")
    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=str(folder / "world" / "tiny")))["tokenizer"]
    set_seed(0)
    for name, width in (("student", case.hidden), ("teacher", case.teacher_hidden)):
        config = Qwen2Config(
            vocab_size=case.vocabulary or len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=case.layers,
            num_attention_heads=width // 32,
            num_key_value_heads=width // 64,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        Qwen2ForCausalLM(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    texts = ["where", "does", "the", "red", "thing", "live", "and", "what", "eats", "moss"]
    rows = []
    for number in range(case.prompts * STEPS):
        question = " ".join(texts[(place + number) % len(texts)] for place in range(case.words))
        rows.append({"id": str(number), "prompt": question, "answer": "moss"})
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(
        json.dumps({"rows": {"file_name": "rows.json", "formatting": "rollout"}})
    )


STEPS = 5  # the first is warm-up


def clock() -> Any:
    """Return a callback that keeps the seconds between the ends of two steps."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.before = self.last = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.before, self.last = reset_peak(), time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            now = time.perf_counter()
            self.seconds.append(now - self.last)
            self.last = now

    return Clock()


def train_ours(case: Case, folder: Path, watch: Any) -> None:
    """`stage: gated_distill` through the host's own entry point."""
    from llamafactory.train.tuner import run_exp

    run_exp(
        {
            "stage": "gated_distill",
            "model_name_or_path": str(folder / "student"),
            "teacher": str(folder / "teacher"),
            "do_train": True,
            "finetuning_type": "full",
            "template": "qwen",
            "dataset_dir": str(folder),
            "dataset": "rows",
            "cutoff_len": 2048,
            "output_dir": tempfile.mkdtemp(),
            "per_device_train_batch_size": case.prompts,
            "gradient_accumulation_steps": 1,
            "max_steps": STEPS,
            "learning_rate": 1e-6,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_gradient_checkpointing": True,
            "use_cpu": True,
            "num_generations": case.group,
            "max_new_tokens": case.new_tokens,
            "rollout_temperature": 1.0,
            "reward_funcs": ["accuracy"],
            "gate_threshold": -math.inf,
            "rl_weight": 0.0,
            "hint_samples": 0,
            "distill_beta": BETA,
        },
        callbacks=[watch],
    )


def train_theirs(case: Case, folder: Path, watch: Any) -> None:
    """TRL's `GKDTrainer`; every prompt is in its batch `group` times."""
    import llamafactory  # noqa: F401  mends trl's package check before trl is imported
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GKDConfig, GKDTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    models = [
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("student", "teacher")
    ]
    models[0].warnings_issued = {}  # TRL 0.24 expects it, transformers 5 has none
    turn = {"role": "assistant", "content": "moss"}
    questions = [row["prompt"] for row in json.loads((folder / "rows.json").read_text())]
    rows = [{"messages": [{"role": "user", "content": text}, turn]} for text in questions for _ in range(case.group)]
    trainer = GKDTrainer(
        model=models[0],
        teacher_model=models[1],
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        callbacks=[watch],
        args=GKDConfig(
            tempfile.mkdtemp(),
            per_device_train_batch_size=case.prompts * case.group,
            max_steps=STEPS,
            learning_rate=1e-6,
            lmbda=1.0,
            beta=BETA,
            temperature=1.0,
            max_new_tokens=case.new_tokens,
            max_length=2048,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
        ),
    )
    trainer.train()


SIDES = {"trl": train_theirs, "ours": train_ours}


def run_side(side: str, case: Case, folder: Path) -> dict[str, float]:
    watch = clock()
    SIDES[side](case, folder, watch)
    return {"seconds": statistics.median(watch.seconds[1:]), "mib": status("VmHWM") - watch.before}


def compare_steps(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One row a case; the sides' processes run in turn."""
    print(
        f"{args.threads} thread(s), torch {torch.__version__}, load {os.getloadavg()[0]:.2f}; medians of {args.rounds} runs\n"
    )
    sides = args.side or list(SIDES)
    headings = [f"{side} {unit}" for side in sides for unit in ("s/step", "MiB")]
    rows = {}
    with growing_table("case", *headings, "time", "memory") as add:
        for name in args.case or CASES:
            row = rows[name] = measure_case(name, sides, args)
            cells = [f"{row[f'{side}_{key}']:{form}}" for side in sides for key, form in FORMATS.items()]
            add(name, *cells, *(f"{row[f'{key}_ratio']:.3f}" for key in FORMATS))
    return rows


def measure_case(name: str, sides: list[str], args: argparse.Namespace) -> dict[str, float]:
    """Return medians over the rounds, and the ratios where both sides were measured."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        write_models(CASES[name], Path(folder))
        for _ in range(args.rounds):
            for side in sides:
                flags = ["--run-side", side, "--case", name, "--folder", folder, "--threads", str(args.threads)]
                found[side].append(child(flags))
    row = {
        f"{side}_{key}": statistics.median(run[key] for run in runs) for side, runs in found.items() for key in runs[0]
    }
    for key in FORMATS:
        row[f"{key}_ratio"] = row[f"ours_{key}"] / row[f"trl_{key}"] if len(sides) == 2 else math.nan
    return row


def child(flags: list[str]) -> dict[str, float]:
    """Run `distill.py` in a fresh process, whose heap nothing earlier has touched, and read its last line."""
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("distill.py")), *flags],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(found.stdout.strip().splitlines()[-1])
