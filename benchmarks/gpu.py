"""One command on any GPU: tokens a second written and learnt, and peak memory, beside TRL and, where it is installed, vLLM.

    make bench-gpu                                   # a random Qwen2.5-VL-3B in bfloat16; prints a Markdown table
    python benchmarks/gpu.py --prompts 4 --new-tokens 512
    python benchmarks/gpu.py --tiny                  # a tiny model on the CPU in less than a minute: tries the code, not the speed

Nothing is downloaded: the shape is that of the released 3B model (`benchmarks/shapes.py`), its weights are random. Both trainers see
the same picture, prompt, group and number of new tokens, none stops early; no gradient checkpointing, all weights but the tower
trained, the optimiser left out. Attention is flash attention 2 where it is installed, PyTorch's own elsewhere. Each side has a process
of its own; numbers are medians of steps after two that warm up.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from grpo import CASES, Case, Machine, Ours, Theirs, build_model, picture, question, synchronize
from live_table import growing_table
from peak import peak_kib
from shapes import configurations
from transformers import Qwen2_5_VLForConditionalGeneration, set_seed
from transformers.utils import is_flash_attn_2_available

from llamafactory_hind.toyworld.build import build


SHAPE = "Qwen/Qwen2.5-VL-3B-Instruct"
TINY = Case(side=4, words=8, kl_beta=0.0, group=2, new_tokens=8, prompts=2)
SIDES = {"ours": Ours, "trl": Theirs}
PADS = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
PADS |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}


def attention() -> str:
    """Return the attention that is used on a GPU."""
    return "flash_attention_2" if is_flash_attn_2_available() else "sdpa"


def build_large(case: Case, tokenizer: Any) -> torch.nn.Module:
    """Return a random model of the released shape, which knows the pads of the toy tokenizer; the tower is frozen."""
    config = configurations()[SHAPE]
    for name, token in PADS.items():
        setattr(config, name, tokenizer.convert_tokens_to_ids(token))
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config, dtype=torch.bfloat16, attn_implementation=attention()
        )
    model.model.visual.requires_grad_(False)
    return model


GPU = Machine(build_large, use_cpu=False, bf16=True)
CPU = Machine(build_model)


def peak_gib() -> float:
    """Return the peak memory of this process: of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return peak_kib() / 2**20


def measure(side: str, case: Case, world: Path, machine: Machine, runs: int) -> dict[str, float]:
    """Take `runs` steps of one side after two that warm up; return tokens a second, seconds a step and the peak."""
    set_seed(0)
    trainer = SIDES[side](case, world, machine)
    for _ in range(2):  # ours compares its ways in the first one
        trainer.step()
    steps = [trainer.step() for _ in range(runs)]
    tokens = case.prompts * case.group * case.new_tokens
    return {
        "written": tokens / statistics.median(step["generation"] for step in steps),
        "learnt": tokens / statistics.median(step["loss"] for step in steps),
        "seconds": statistics.median(step["seconds"] for step in steps),
        "peak": peak_gib(),
    }


def measure_vllm(case: Case, world: Path, runs: int) -> dict[str, float]:
    """Write the same completions with vLLM in this process; it learns nothing. Not tried where this was written."""
    from llamafactory.hparams import ModelArguments
    from llamafactory.model import load_tokenizer
    from vllm import LLM, SamplingParams

    modules = load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny")))
    folder = world / "large"
    build_large(case, modules["tokenizer"]).save_pretrained(folder)
    modules["processor"].save_pretrained(folder)
    torch.cuda.empty_cache()
    engine = LLM(str(folder), dtype="bfloat16", max_model_len=4096, gpu_memory_utilization=0.8)
    how = SamplingParams(n=case.group, temperature=0.9, max_tokens=case.new_tokens, ignore_eos=True)
    text = f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{question(case)}<|im_end|>\n<|im_start|>assistant\n"
    prompts = [{"prompt": text, "multi_modal_data": {"image": picture(case)}}] * case.prompts
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        engine.generate(prompts, how, use_tqdm=False)
        synchronize()
        seconds.append(time.perf_counter() - started)
    written = case.prompts * case.group * case.new_tokens / statistics.median(seconds[1:])
    return {"written": written, "peak": float("nan")}


def cells(found: dict[str, float]) -> list[str]:
    """Return a row of the table; what a side does not do is left open."""
    formats = {"written": ".0f", "learnt": ".0f", "seconds": ".2f", "peak": ".1f"}
    return [f"{found[key]:{form}}" if found.get(key) == found.get(key, "") else "–" for key, form in formats.items()]


def child(side: str, case: Case, world: Path, runs: int) -> dict[str, float] | str:
    """Measure in a process of its own; return what it says where it fails, in a word or two."""
    command = [sys.executable, __file__, "--child", side, "--case", json.dumps(asdict(case)), "--world", str(world)]
    done = subprocess.run([*command, "--runs", str(runs)], capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        return "out of memory" if "OutOfMemoryError" in done.stderr else "failed"
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(case: Case, world: Path, runs: int, *, tiny: bool) -> dict[str, dict[str, float] | str]:
    """Print the table; return its numbers."""
    sides = [*SIDES, *(["vllm"] if not tiny and importlib.util.find_spec("vllm") else [])]
    rows: dict[str, dict[str, float] | str] = {}
    with growing_table("side", "tokens/s written", "tokens/s learnt", "s/step", "peak GiB") as add:
        for side in sides:
            row = measure(side, case, world, CPU, runs) if tiny else child(side, case, world, runs)
            rows[side] = row
            add(side, *([row, "–", "–", "–"] if isinstance(row, str) else cells(row)))
        if "vllm" not in sides:
            add("vllm", "not installed here" if not tiny else "not tried", "–", "–", "–")
    return rows


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, both sides in this process")
    parser.add_argument("--prompts", type=int, default=2, help="of a step, each with its group")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", choices=[*SIDES, "vllm"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        case = Case(**json.loads(args.case))
        found = (
            measure_vllm(case, args.world, args.runs)
            if args.child == "vllm"
            else measure(args.child, case, args.world, GPU, args.runs)
        )
        print("\n" + json.dumps(found))
        return found
    if not args.tiny and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here. `python benchmarks/gpu.py --tiny` tries the code on the CPU.")
    world = args.world or Path(tempfile.mkdtemp())
    if not (world / "tiny").is_dir():
        build(world, seed=0, size="small")
    shape = {"group": args.group, "new_tokens": args.new_tokens, "prompts": args.prompts}
    case = TINY if args.tiny else Case(**{**asdict(CASES["image300"]), "kl_beta": 0.0, **shape})
    where = (
        "CPU, tiny model" if args.tiny else f"{torch.cuda.get_device_name()}, {SHAPE} shape, bfloat16, {attention()}"
    )
    print(
        f"{where}, torch {torch.__version__}: {case.prompts} prompts with {case.group} completions of {case.new_tokens} tokens\n"
    )
    return compare(case, world, args.runs, tiny=args.tiny)


if __name__ == "__main__":
    main()
