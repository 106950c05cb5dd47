"""Log-probs of given ids from hidden states: `linear_logprobs` against the full float32 log-softmax.

Times are paired: both forms in turn in one process, forward and backward, the ratio of medians counts; the ratio of CPU times
is what to read where other jobs share the machine. Memory is the growth of the peak resident set (VmHWM, reset before the
measured pass; Linux only) in a child process of its own for each form.

    python benchmarks/head.py --tokens 2048 --vocab 151936 --hidden 896
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from live_table import growing_table

from llamafactory_hind.losses.logprobs import linear_logprobs


MEBIBYTE = 2**20
COLUMNS = (  # of the table: heading, key of a row, format
    ("plain s", "plain_seconds", ".2f"),
    ("ours s", "ours_seconds", ".2f"),
    ("time", "time_ratio", ".3f"),
    ("CPU time", "cpu_ratio", ".3f"),
    ("plain MiB", "plain_mib", ".0f"),
    ("ours MiB", "ours_mib", ".0f"),
    ("memory", "memory_ratio", ".3f"),
    ("max |d logp|", "logp_difference", ".1e"),
    ("max |d grad|", "gradient_difference", ".1e"),
)
Logprobs = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Full float32 logits (B, T, V), log-softmax, gather: what a trainer does without a chunked head."""
    logits = torch.nn.functional.linear(hidden, weight).float()
    return logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


FORMS: dict[str, Logprobs] = {"plain": plain, "ours": linear_logprobs}


def problem(args: argparse.Namespace, *, frozen: bool) -> tuple[torch.Tensor, ...]:
    """Hidden states (1, T, H), head (V, H), targets (1, T) and an upstream gradient (1, T), by seed."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, args.tokens, args.hidden, generator=generator)
    # Logits of standard deviation 2: neither a uniform nor a one-hot distribution.
    weight = torch.randn(args.vocab, args.hidden, generator=generator).mul_(2 / args.hidden**0.5)
    targets = torch.randint(args.vocab, (1, args.tokens), generator=generator)
    upstream = torch.randn(1, args.tokens, generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(not frozen), targets, upstream


def one_pass(form: Logprobs, inputs: tuple[torch.Tensor, ...]) -> tuple[float, float, torch.Tensor]:
    """Wall and CPU seconds of a forward and a backward pass, and the log-probs; gradients are left in the inputs."""
    hidden, weight, targets, upstream = inputs
    hidden.grad = weight.grad = None
    wall, cpu = time.perf_counter(), time.process_time()
    logps = form(hidden, weight, targets)
    logps.backward(upstream)
    return time.perf_counter() - wall, time.process_time() - cpu, logps.detach()


def warm_up(form: Logprobs) -> None:
    """One pass of nothing much: thread pools and kernels are loaded before anything counts."""
    hidden, weight = torch.randn(1, 2, 4, requires_grad=True), torch.randn(8, 4, requires_grad=True)
    one_pass(form, (hidden, weight, torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2)))


def peak_growth(form: Logprobs, inputs: tuple[torch.Tensor, ...]) -> float:
    """MiB by which the resident set rises at most during one pass; Linux only."""
    warm_up(form)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    one_pass(form, inputs)
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def child(args: argparse.Namespace, form: str, *, frozen: bool) -> float:
    """Run `peak_growth` in a fresh process, whose heap no earlier form has touched."""
    command = [sys.executable, __file__, "--peak-of", form, "--tokens", str(args.tokens), "--vocab", str(args.vocab)]
    command += ["--hidden", str(args.hidden), "--threads", str(args.threads)] + (["--frozen"] if frozen else [])
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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
            wall_seconds, cpu_seconds, logps = one_pass(form, inputs)
            wall[name].append(wall_seconds)
            cpu[name].append(cpu_seconds)
            kept[name] = [logps, hidden.grad, *([] if frozen else [weight.grad])]
    differences = [
        (ours - theirs).abs().max().item() for ours, theirs in zip(kept["ours"], kept["plain"], strict=True)
    ]
    del kept, inputs, hidden, weight
    head_gradient = 0.0 if frozen else args.vocab * args.hidden * 4 / MEBIBYTE
    peaks = {name: child(args, name, frozen=frozen) - head_gradient for name in FORMS}
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
        "logp_difference": differences[0],
        "gradient_difference": max(differences[1:]),
    }


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--rounds", type=int, default=3, help="alternating passes of each form")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--peak-of", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--frozen", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(peak_growth(FORMS[args.peak_of], problem(args, frozen=args.frozen)))
        return
    print(
        f"T {args.tokens}, V {args.vocab}, H {args.hidden}, float32, {args.threads} thread(s), torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.2f}; medians of {args.rounds} alternating passes; memory above the head's own gradient"
    )
    rows = {}
    with growing_table("head", *(title for title, _, _ in COLUMNS)) as add:
        for name in ("frozen", "trained"):
            row = rows[name] = compare(args, frozen=name == "frozen")
            add(name, *(f"{row[key]:{form}}" for _, key, form in COLUMNS))
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, **rows}, indent=2))


if __name__ == "__main__":
    main()
