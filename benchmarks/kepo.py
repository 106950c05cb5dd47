"""One optimiser step of `stage: kepo` beside the host's `stage: dpo`: both real trainers, same pairs, same weights, in turn.

    python benchmarks/kepo.py --case image300 --case image1000 --case vocabulary     # medians and ratios, one process a case
    python benchmarks/kepo.py --case image1000 --memory                              # peak memory, one process a trainer

A step is `training_step` (reference where the host computes one, forward, backward) on ready batches; the optimiser is the same
on both sides and left out. Random weights, float32, no gradient checkpointing on either side, reference log-probs of `kepo`
from its cache. Memory is the growth of the peak resident set over what the process held with model and batch ready.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from live_table import growing_table
from llamafactory.hparams import FinetuningArguments, TrainingArguments
from llamafactory.train.dpo.trainer import CustomDPOTrainer
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from llamafactory_hind.engines.local.packing import CHOSEN, PROMPT, REJECTED
from llamafactory_hind.engines.local.scoring import plain_token_logprobs, token_logprobs
from llamafactory_hind.stages.kepo import pair_loss
from llamafactory_hind.trainers.pairs.collator import PairCollator
from llamafactory_hind.trainers.pairs.trainer import PairTrainer, pair_logps


IMAGE, VISION_START, VISION_END = 3, 1, 2


@dataclass(frozen=True)
class Case:
    """`side`: merged image patches a side (0: no image); `text`: further prompt tokens; `answer`: tokens an answer."""

    pairs: int
    side: int
    text: int
    answer: int
    vocabulary: int
    hidden: int = 128
    layers: int = 4


CASES = {
    "image300": Case(pairs=4, side=16, text=44, answer=64, vocabulary=448),
    "image1000": Case(pairs=4, side=27, text=271, answer=64, vocabulary=448),
    "text512": Case(pairs=4, side=0, text=448, answer=64, vocabulary=448),
    "vocabulary": Case(pairs=1, side=0, text=701, answer=323, vocabulary=151_936),
    "vocabulary_short_prompt": Case(pairs=1, side=0, text=140, answer=884, vocabulary=151_936),
}


def build_model(case: Case) -> torch.nn.Module:
    """A Qwen2.5-VL of the case's size with random weights."""
    torch.manual_seed(0)
    heads = max(1, case.hidden // 32)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": case.vocabulary,
            "hidden_size": case.hidden,
            "intermediate_size": 3 * case.hidden,
            "num_hidden_layers": case.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": case.hidden,
            "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def prompt_ids(case: Case) -> torch.Tensor:
    image = [VISION_START, *[IMAGE] * case.side**2, VISION_END] if case.side else []
    return torch.tensor([*image, *torch.randint(4, case.vocabulary, (case.text,)).tolist()]).expand(case.pairs, -1)


def rows(model: torch.nn.Module, case: Case, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a collator would hand to the model for `ids` (rows, T) without padding."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    images = {}
    if case.side:
        grid = torch.tensor([[1, 2 * case.side, 2 * case.side]]).expand(len(ids), -1)
        patches = torch.randn(4 * case.side**2, 1176, generator=torch.Generator().manual_seed(3))
        images = {"image_grid_thw": grid, "pixel_values": patches.repeat(len(ids), 1)}
    kinds = (ids == IMAGE).int()
    positions, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=kinds,
        image_grid_thw=images.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )
    return {**inputs, **images, "position_ids": torch.cat([positions[:1], positions])}


def batches(model: torch.nn.Module, case: Case) -> tuple[dict, dict]:
    """The same pairs as the host's batch (2N rows) and as ours (N packed rows)."""
    torch.manual_seed(1)
    prompt = prompt_ids(case)
    chosen, rejected = (torch.randint(4, case.vocabulary, (case.pairs, case.answer)) for _ in range(2))
    masked = torch.full_like(prompt, -100)
    plain = rows(model, case, torch.cat([torch.cat([prompt, chosen], 1), torch.cat([prompt, rejected], 1)]))
    plain["labels"] = torch.cat([torch.cat([masked, chosen], 1), torch.cat([masked, rejected], 1)])
    packed = rows(model, case, torch.cat([prompt, chosen, rejected], 1))
    first, second = prompt.shape[1], prompt.shape[1] + case.answer
    packed["position_ids"][..., second:] = packed["position_ids"][..., first:second]
    packed["labels"] = torch.cat([masked, chosen, rejected], 1)
    segments = torch.full_like(packed["labels"], PROMPT)
    segments[:, first:second], segments[:, second:] = CHOSEN, REJECTED
    sources = torch.arange(segments.shape[1]).expand_as(segments) - 1
    packed["sources"] = sources.contiguous().index_fill(1, torch.tensor([second]), first - 1)
    packed |= {"segments": segments, "pairs": torch.tensor(case.pairs)}
    return plain, packed


def host_trainer(model: torch.nn.Module, case: Case) -> CustomDPOTrainer:
    reference = build_model(case)
    reference.load_state_dict(model.state_dict())
    return CustomDPOTrainer(
        model=model,
        ref_model=reference,
        finetuning_args=FinetuningArguments(stage="dpo", finetuning_type="full"),
        processor=None,
        args=training_args(),
        tokenizer=None,
        data_collator=lambda features: features,
    )


def our_trainer(model: torch.nn.Module) -> PairTrainer:
    return PairTrainer(
        model=model,
        finetuning_args=FinetuningArguments(finetuning_type="full"),
        processor=None,
        args=training_args(),
        data_collator=PairCollator.__new__(PairCollator),
        pair_loss=lambda logps: pair_loss(logps, beta=0.1, loss="sigmoid", gap_weight=False, nll_weight=0.0),
    )


def training_args() -> TrainingArguments:
    return TrainingArguments(output_dir=tempfile.mkdtemp(), use_cpu=True, report_to=[], gradient_accumulation_steps=1)


def with_references(model: torch.nn.Module, packed: dict) -> dict:
    with torch.no_grad():
        logps = pair_logps(model, packed)
    return {**packed, "ref_chosen_logps": logps.chosen, "ref_rejected_logps": logps.rejected}


def step(trainer: torch.nn.Module, batch: dict) -> float:
    trainer.model.zero_grad()
    start = time.perf_counter()
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(trainer.model, batch, **({"num_items_in_batch": batch["pairs"]} if "pairs" in batch else {}))
    return time.perf_counter() - start


def matmul_peak(size: int = 1536) -> float:
    """Measured float32 matmul rate of this process in FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    rates = []
    for _ in range(7):
        start = time.perf_counter()
        a @ b
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return statistics.median(rates)


def unique_flops(model: torch.nn.Module, case: Case) -> float:
    """Matmul FLOPs of a step over unique tokens: prompt once a pair, each answer once; forward and backward (x3)."""
    config = model.config.text_config
    image = case.side**2 + 2 if case.side else 0
    prompt, answers = image + case.text, 2 * case.answer
    layers = sum(p.numel() for n, p in model.model.language_model.layers.named_parameters() if p.dim() == 2)
    vision = sum(p.numel() for n, p in model.model.visual.blocks.named_parameters() if p.dim() == 2)
    seen = prompt**2 / 2 + answers * prompt + 2 * case.answer**2 / 2  # query-key pairs that may attend
    text = 2 * layers * (prompt + answers) + 4 * seen * config.hidden_size * config.num_hidden_layers
    tower = 2 * vision * 4 * case.side**2
    head = 2 * answers * config.hidden_size * case.vocabulary
    return 3.0 * case.pairs * (text + tower + head)


def measure_time(name: str, runs: int) -> dict[str, float]:
    case = CASES[name]
    model = build_model(case)
    plain, packed = batches(model, case)
    packed = with_references(model.eval(), packed)
    host, ours = host_trainer(model, case), our_trainer(model)
    difference = compare(model, plain, packed)
    step(host, dict(plain)), step(ours, dict(packed))
    times = [(step(host, dict(plain)), step(ours, dict(packed))) for _ in range(runs)]
    host_time, our_time = (statistics.median(column) for column in zip(*times, strict=True))
    peak = matmul_peak()
    return {
        "host_s": host_time,
        "ours_s": our_time,
        "ratio": statistics.median(ours / host for host, ours in times),
        "share_of_matmul_peak": unique_flops(model, case) / our_time / peak,
        "host_share_of_matmul_peak": unique_flops(model, case) / host_time / peak,
        "matmul_peak_gflops": peak / 1e9,
        **difference,
    }


def compare(model: torch.nn.Module, plain: dict, packed: dict) -> dict[str, float]:
    """Largest differences between the shared-prompt path and full logits over two rows a pair."""
    found = {}
    for form in ("packed", "plain"):
        model.zero_grad()
        if form == "packed":
            logps = pair_logps(model, packed)
            chosen, rejected = logps.chosen, logps.rejected
            tokens = token_scores(model, packed)
        else:
            inputs = {k: v for k, v in plain.items() if k != "labels"}
            tokens = plain_token_logprobs(model, inputs, plain["labels"])
            chosen, rejected = tokens.sum(-1).chunk(2)
            tokens = tokens[plain["labels"] != -100]
        (chosen - rejected).mean().backward()
        found[form] = (tokens.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    order = reorder(packed)
    gradients = list(zip(found["packed"][1], found["plain"][1], strict=True))
    return {
        "max_logp_difference": (found["packed"][0][order] - found["plain"][0]).abs().max().item(),
        "max_gradient_difference": max((a - b).abs().max().item() for a, b in gradients),
        "max_gradient": max(b.abs().max().item() for _, b in gradients),
    }


def token_scores(model: torch.nn.Module, packed: dict) -> torch.Tensor:
    from llamafactory_hind.engines.local.packing import packed_attention_mask
    from llamafactory_hind.trainers.pairs.collator import PAIR_KEYS

    inputs = {k: v for k, v in packed.items() if k not in PAIR_KEYS}
    inputs["attention_mask"] = packed_attention_mask(packed["segments"], dtype=None)
    with torch.no_grad():
        return token_logprobs(model, inputs, packed["labels"], sources=packed["sources"])[packed["labels"] != -100]


def reorder(packed: dict) -> torch.Tensor:
    """Packed order is pair by pair (chosen, rejected); the host's is all chosen, then all rejected."""
    kinds = packed["segments"][packed["labels"] != -100]
    return torch.cat([(kinds == CHOSEN).nonzero(), (kinds == REJECTED).nonzero()]).squeeze(-1)


def measure_memory(name: str, which: str) -> float:
    """Growth of the peak resident set during one step in MiB, in a process of its own."""
    case = CASES[name]
    model = build_model(case)
    plain, packed = batches(model, case)
    if which == "host":
        trainer, batch = host_trainer(model, case), plain
    else:
        trainer = our_trainer(model)
        logps = torch.zeros(case.pairs)
        batch = {**packed, "ref_chosen_logps": logps, "ref_rejected_logps": logps}
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    step(trainer, batch)
    return status("VmHWM") - before


def status(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


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
        with growing_table("case", "host MiB", "kepo MiB", "ratio") as add:
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
