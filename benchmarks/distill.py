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
import time
from collections.abc import Callable
from pathlib import Path

import torch
from distill_step import BETA, CASES, SIDES, child, compare_steps, run_side
from live_table import growing_table
from peak import reset_peak, status

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
