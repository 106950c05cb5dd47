"""Distillation: `linear_jsd` beside full logits, and a step of `stage: gated_distill` beside TRL's `GKDTrainer`.

    python benchmarks/distill.py --tokens 1024 --vocab 151936         # the loss, forward and backward
    python benchmarks/distill.py --step --case vocabulary             # whole training steps, time and memory

Loss: times are paired, both forms in turn in one process, the ratio of medians counts; the ratio of CPU times is what to read
where other jobs share the machine. Memory is the growth of the peak resident set (VmHWM, reset before the measured pass; Linux
only) in a child process of its own for each form, for a trained head less the gradient of its weight.

Step: both real trainers over the same tiny Qwen2 student and teacher (text, random weights, float32), the same prompts, as many
completions of as many tokens: each of `prompts` is written `group` times. Ours is ungated (`gate_threshold: -.inf`, `rl_weight: 0`,
no hints); TRL's is always on-policy (`lmbda` 1) and has gradient checkpointing off, which would turn its cache off. Processes run in turn;
a step is what lies between the ends of two of them, memory the growth of the peak resident set from the first step on.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from live_table import growing_table

from llamafactory_hind.losses.distill import linear_jsd


MEBIBYTE = 2**20
COLUMNS = (  # of the table: heading, key of a row, format
    ("plain s", "plain_seconds", ".2f"),
    ("ours s", "ours_seconds", ".2f"),
    ("time", "time_ratio", ".2f"),
    ("CPU time", "cpu_ratio", ".2f"),
    ("plain MiB", "plain_mib", ".0f"),
    ("ours MiB", "ours_mib", ".0f"),
    ("memory", "memory_ratio", ".3f"),
    ("max dD", "value_difference", ".1e"),
    ("max dgrad", "gradient_difference", ".1e"),
)
FORMATS = {"seconds": ".2f", "mib": ".0f"}  # of a training step
BETA = 0.5
Divergence = Callable[..., torch.Tensor]


def plain(
    hidden: torch.Tensor, weight: torch.Tensor, teacher_hidden: torch.Tensor, teacher_weight: torch.Tensor
) -> torch.Tensor:
    """The definition over full float32 logits of both models, as lean as it can be written."""
    student = torch.nn.functional.linear(hidden, weight).float().log_softmax(-1)
    with torch.no_grad():
        teacher = torch.nn.functional.linear(teacher_hidden, teacher_weight).float().log_softmax(-1)
    mixture = torch.logaddexp(student + math.log(1 - BETA), teacher + math.log(BETA))
    to_teacher = (teacher.exp() * (teacher - mixture)).sum(-1)
    return BETA * to_teacher + (1 - BETA) * (student.exp() * (student - mixture)).sum(-1)


def ours(*inputs: torch.Tensor) -> torch.Tensor:
    return linear_jsd(*inputs, beta=BETA)


FORMS: dict[str, Divergence] = {"plain": plain, "ours": ours}


def problem(args: argparse.Namespace, *, frozen: bool) -> tuple[torch.Tensor, ...]:
    """Hidden states (1, T, H) and head (V, H) of student and teacher, and an upstream gradient (1, T), by seed."""
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for width in (args.hidden, args.teacher_hidden):
        tensors.append(torch.randn(1, args.tokens, width, generator=generator))
        # Logits of standard deviation 2: neither a uniform nor a one-hot distribution.
        tensors.append(torch.randn(args.vocab, width, generator=generator).mul_(2 / width**0.5))
    tensors[0].requires_grad_()
    tensors[1].requires_grad_(not frozen)
    return *tensors, torch.rand(1, args.tokens, generator=generator)


def one_pass(form: Divergence, inputs: tuple[torch.Tensor, ...]) -> tuple[float, float, torch.Tensor]:
    """Wall and CPU seconds of a forward and a backward pass, and the divergences; gradients are left in the inputs."""
    *tensors, upstream = inputs
    tensors[0].grad = tensors[1].grad = None
    wall, cpu = time.perf_counter(), time.process_time()
    values = form(*tensors)
    values.backward(upstream)
    return time.perf_counter() - wall, time.process_time() - cpu, values.detach()


def warm_up(form: Divergence) -> None:
    """One pass of nothing much: thread pools and kernels are loaded before anything counts."""
    tensors = [torch.randn(*shape) for shape in ((1, 2, 4), (8, 4), (1, 2, 6), (8, 6))]
    tensors[0].requires_grad_(), tensors[1].requires_grad_()
    one_pass(form, (*tensors, torch.ones(1, 2)))


def peak_growth(form: Divergence, inputs: tuple[torch.Tensor, ...]) -> float:
    """MiB by which the resident set rises at most during one pass; Linux only."""
    warm_up(form)
    before = reset_peak()
    one_pass(form, inputs)
    return status("VmHWM") - before


def reset_peak() -> float:
    """Forget the highest resident set so far; returns the present one in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(key: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / 1024


def compare(args: argparse.Namespace, *, frozen: bool) -> dict[str, float]:
    """One row of the table: times, peaks and the largest differences."""
    inputs = problem(args, frozen=frozen)
    hidden, weight = inputs[:2]
    wall: dict[str, list[float]] = {name: [] for name in FORMS}
    cpu: dict[str, list[float]] = {name: [] for name in FORMS}
    kept: dict[str, list[torch.Tensor]] = {}
    for form in FORMS.values():
        warm_up(form)
    for _ in range(args.rounds):
        for name, form in FORMS.items():
            wall_seconds, cpu_seconds, values = one_pass(form, inputs)
            wall[name].append(wall_seconds)
            cpu[name].append(cpu_seconds)
            kept[name] = [values, hidden.grad, *([] if frozen else [weight.grad])]
    pairs = zip(kept["ours"], kept["plain"], strict=True)
    differences = [(one - other).abs().max().item() for one, other in pairs]
    del kept, inputs, hidden, weight, values
    head_gradient = 0.0 if frozen else args.vocab * args.hidden * 4 / MEBIBYTE
    flags = ["--frozen"] if frozen else []
    for key in ("tokens", "vocab", "hidden", "teacher_hidden", "threads"):
        flags += ["--" + key.replace("_", "-"), str(getattr(args, key))]
    peaks = {name: child(["--peak-of", name, *flags])["mib"] - head_gradient for name in FORMS}
    medians = {name: statistics.median(values) for name, values in wall.items()}
    cpu_medians = {name: statistics.median(values) for name, values in cpu.items()}
    return {
        "plain_seconds": medians["plain"],
        "ours_seconds": medians["ours"],
        "time_ratio": medians["ours"] / medians["plain"],
        "cpu_ratio": cpu_medians["ours"] / cpu_medians["plain"],
        "plain_mib": peaks["plain"],
        "ours_mib": peaks["ours"],
        "memory_ratio": peaks["ours"] / peaks["plain"],
        "value_difference": differences[0],
        "gradient_difference": max(differences[1:]),
    }


def compare_losses(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    print(
        f"T {args.tokens}, V {args.vocab}, H {args.hidden}, teacher's H {args.teacher_hidden}, float32, {args.threads} thread(s), "
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.2f}; medians of {args.rounds} alternating passes\n"
    )
    rows = {}
    with growing_table("head", *(title for title, _, _ in COLUMNS)) as add:
        for name in ("frozen", "trained"):
            row = rows[name] = compare(args, frozen=name == "frozen")
            add(name, *(f"{row[key]:{form}}" for _, key, form in COLUMNS))
    return rows


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
    """Run this file in a fresh process, whose heap nothing earlier has touched, and read its last line."""
    found = subprocess.run([sys.executable, __file__, *flags], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.strip().splitlines()[-1])


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--teacher-hidden", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=3, help="alternating passes of each form, or runs of each side")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    parser.add_argument("--step", action="store_true", help="whole training steps instead of the loss")
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="of --step; repeatable; default: all")
    parser.add_argument("--side", action="append", choices=sorted(SIDES), help="of --step; default: both")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--peak-of", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--frozen", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run-side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(json.dumps({"mib": peak_growth(FORMS[args.peak_of], problem(args, frozen=args.frozen))}))
    elif args.run_side:
        print("\n" + json.dumps(run_side(args.run_side, CASES[args.case[0]], args.folder)))
    else:
        rows = compare_steps(args) if args.step else compare_losses(args)
        if args.json:
            args.json.write_text(json.dumps({"threads": args.threads, **rows}, indent=2))


if __name__ == "__main__":
    main()
