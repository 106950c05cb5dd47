"""One optimiser step of `stage: reason_sft` beside the host's `stage: sft`: both real trainers, same texts, same weights, in turn.

    python benchmarks/reason_sft.py --case image1000 --case vocabulary     # medians and ratios, one process a case
    python benchmarks/reason_sft.py --case image1000 --memory              # peak memory, one process a trainer

Every row has two texts, an answer and its reasoning: two rows for the host, one packed row for us. A step is `training_step`
(forward and backward) on ready batches; the optimiser is the same on both sides and left out. Random weights, float32, no gradient
checkpointing, full tuning. Memory is the growth of the peak resident set over what the process held with model and batch ready.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from kepo import Case as ModelCase
from kepo import build_model, prompt_ids, rows, status, training_args
from live_table import growing_table
from llamafactory.hparams import FinetuningArguments
from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer
from transformers import Seq2SeqTrainingArguments

from llamafactory_hind.engines.local.packing import lay_out
from llamafactory_hind.trainers.multitask.collator import ANSWER, REASON, MultitaskCollator
from llamafactory_hind.trainers.multitask.losses import sums_by_task, token_logps
from llamafactory_hind.trainers.multitask.trainer import MultitaskTrainer


INSTRUCTION = 8  # tokens that tell the tasks apart


@dataclass(frozen=True)
class Case(ModelCase):
    """`pairs` rows; `answer` and `reason`: tokens learnt of each text, behind an instruction of 8."""

    reason: int = 120


CASES = {
    "image300": Case(pairs=4, side=16, text=44, answer=8, vocabulary=448),
    "image1000": Case(pairs=4, side=27, text=271, answer=8, vocabulary=448),
    "text1000": Case(pairs=4, side=0, text=1000, answer=8, vocabulary=448),
    "wide1000": Case(pairs=2, side=27, text=271, answer=8, vocabulary=448, hidden=512, layers=8),
    "vocabulary": Case(pairs=1, side=0, text=1000, answer=8, vocabulary=151_936),
}


def batches(model: torch.nn.Module, case: Case) -> tuple[dict, dict]:
    """The same texts as the host's batch (2N rows, padded to the longer) and as ours (N packed rows)."""
    torch.manual_seed(1)
    prompt = prompt_ids(case)
    lengths = (INSTRUCTION + case.answer, INSTRUCTION + case.reason)
    texts = [torch.randint(4, case.vocabulary, (case.pairs, length)) for length in lengths]
    learnt = [text.clone().index_fill(1, torch.arange(INSTRUCTION), -100) for text in texts]
    nothing = torch.full_like(prompt, -100)
    width = max(lengths)
    plain = rows(model, case, torch.cat([torch.cat([prompt, fill(text, width, 0)], 1) for text in texts]))
    plain["labels"] = torch.cat([torch.cat([nothing, fill(labels, width, -100)], 1) for labels in learnt])
    plain["attention_mask"][: case.pairs, prompt.shape[1] + lengths[0] :] = 0
    packed = rows(model, case, torch.cat([prompt, *texts], 1))
    packed["labels"] = torch.cat([nothing, *learnt], 1)
    layout = lay_out(packed, [[prompt.shape[1], *lengths]] * case.pairs, left=False)
    packed |= {"position_ids": layout.positions, "segments": layout.segments, "sources": layout.sources}
    tasks = torch.where(layout.segments == 1, ANSWER, REASON)
    packed["tasks"] = torch.where(packed["labels"] == -100, -1, tasks)
    packed["owners"] = torch.arange(case.pairs)
    packed["counts"] = torch.stack([(packed["tasks"] == task).sum() for task in (ANSWER, REASON)])
    return plain, packed


def fill(ids: torch.Tensor, width: int, value: int) -> torch.Tensor:
    """Pad (N, T) on the right."""
    return torch.nn.functional.pad(ids, (0, width - ids.shape[1]), value=value)


def host_trainer(model: torch.nn.Module) -> CustomSeq2SeqTrainer:
    arguments = Seq2SeqTrainingArguments(output_dir=training_args().output_dir, use_cpu=True, report_to=[])
    arguments.fp8 = False
    return CustomSeq2SeqTrainer(
        model=model,
        finetuning_args=FinetuningArguments(stage="sft", finetuning_type="full"),
        processor=None,
        args=arguments,
        tokenizer=None,
        data_collator=lambda features: features,
    )


def our_trainer(model: torch.nn.Module) -> MultitaskTrainer:
    return MultitaskTrainer(
        model=model,
        finetuning_args=FinetuningArguments(finetuning_type="full"),
        processor=None,
        args=training_args(),
        data_collator=MultitaskCollator.__new__(MultitaskCollator),
        reason_weight=1.0,
    )


def step(trainer: torch.nn.Module, batch: dict) -> float:
    trainer.model.zero_grad()
    start = time.perf_counter()
    trainer.current_gradient_accumulation_steps = 1
    items = batch["counts"] if "counts" in batch else (batch["labels"] != -100).sum()
    trainer.training_step(trainer.model, batch, num_items_in_batch=items)
    return time.perf_counter() - start


def measure_time(name: str, runs: int) -> dict[str, float]:
    case = CASES[name]
    model = build_model(case)
    plain, packed = batches(model, case)
    host, ours = host_trainer(model), our_trainer(model)
    difference = compare(model, plain, packed)
    step(host, dict(plain)), step(ours, dict(packed))
    times = [(step(host, dict(plain)), step(ours, dict(packed))) for _ in range(runs)]
    host_time, our_time = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(ours / host for host, ours in times)
    return {"host_s": host_time, "ours_s": our_time, "ratio": ratio, **difference}


def compare(model: torch.nn.Module, plain: dict, packed: dict) -> dict[str, float]:
    """Largest differences between packed rows with the chunked head and the host's loss: `S / n` over all learnt tokens."""
    found = []
    count = (plain["labels"] != -100).sum()
    for form in ("host", "ours"):
        model.zero_grad()
        if form == "host":
            loss = model(**plain).loss
        else:
            sums, _ = sums_by_task(token_logps(model, packed), packed)
            loss = sums.sum() / count
        loss.backward()
        found.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    model.zero_grad()
    gradients = list(zip(found[0][1], found[1][1], strict=True))
    return {
        "loss_difference": abs(found[0][0] - found[1][0]),
        "max_gradient_difference": max((a - b).abs().max().item() for a, b in gradients),
        "max_gradient": max(a.abs().max().item() for a, _ in gradients),
    }


def measure_memory(name: str, which: str) -> float:
    """Growth of the peak resident set during one step in MiB, in a process of its own."""
    case = CASES[name]
    model = build_model(case)
    plain, packed = batches(model, case)
    trainer, batch = (host_trainer(model), plain) if which == "host" else (our_trainer(model), packed)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    step(trainer, batch)
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="repeatable; default: all")
    parser.add_argument("--runs", type=int, default=7, help="paired steps a case")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.case or sorted(CASES)
    if arguments.child:
        result = measure_time(names[0], arguments.runs) if arguments.child == "time" else None
        print(json.dumps(result or {"mib": measure_memory(names[0], arguments.child)}))
        return
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    if arguments.memory:
        with growing_table("case", "host MiB", "reason_sft MiB", "ratio") as add:
            for name in names:
                host, ours = (child(name, which, arguments.runs)["mib"] for which in ("host", "ours"))
                add(name, f"{host:.0f}", f"{ours:.0f}", f"{ours / host:.3f}")
        return
    with growing_table("case", "measured", "value") as add:
        for name in names:
            for key, value in child(name, "time", arguments.runs).items():
                add(name, key, f"{value:.4g}")


def child(name: str, which: str, runs: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--case", name, "--child", which, "--runs", str(runs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
