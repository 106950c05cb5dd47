"""Peak memory of the loss pass of `stage: grpo` over completions and their length, whole and a few completions at a time.

    python benchmarks/loss_memory.py                                    # G = 8, 16, 32 and 64, 256, 1024 tokens
    python benchmarks/loss_memory.py --groups 16 --tokens 256 --rows 1 4

Forward and backward over one prompt of about 300 tokens with an image, the model and sizes of `benchmarks/grpo.py`. `cache` is the
way without gradient checkpointing, `packed` the way with it (one row a group with a mask). `--rows` is `loss_micro_batch`. Memory is
the growth of the peak resident set over what the process held with model and batch ready, a process a number; gradients are there
before, so they do not count. Seconds are of the second of two passes.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from grpo import CASES, Case, build_model, picture, question, status
from live_table import growing_table
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.toyworld.build import build
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch, bare_batch
from llamafactory_hind.trainers.rollouts.parts import score_with
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer


def load(case: Case, world: Path, *, checkpointing: bool) -> LoadedModel:
    """Return a model with random weights in training mode."""
    model_args = ModelArguments(model_name_or_path=str(world / "tiny"), image_max_pixels=2**22)
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], DataArguments(template="qwen2_vl"))
    model = build_model(case, modules["tokenizer"])
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return LoadedModel(model.train(), modules["tokenizer"], modules["processor"], template)


def batch_of(loaded: LoadedModel, case: Case, group: int, tokens: int) -> RolloutBatch:
    """Return one prompt with invented completions."""
    images = [picture(case)]
    messages = [{"role": "user", "content": "<image>" + question(case)}, {"role": "assistant", "content": ""}]
    messages = loaded.template.mm_plugin.process_messages(messages, images, [], [], loaded.processor)
    ids, _ = loaded.template.encode_oneturn(loaded.tokenizer, messages)
    chance = torch.Generator().manual_seed(2)
    completions = torch.randint(20, 400, (group, tokens), generator=chance).tolist()
    return bare_batch([Prompt(ids, [], Request((), images=images))], [completions], device=torch.device("cpu"))


def measure(way: str, group: int, tokens: int, rows: int | None, world: Path) -> dict[str, float]:
    """Return MiB and seconds of a forward and a backward pass."""
    case = CASES["image300"]
    loaded = load(case, world, checkpointing=way == "packed")
    batch = batch_of(loaded, case, group, tokens)
    scorer = GroupScorer(loaded, temperature=0.9, share_prefix="on")
    scorer.mode = way

    def step() -> None:
        logps, _ = score_with(None, scorer, loaded.model, batch, rows_at_once=rows)
        logps.sum().backward()

    for parameter in loaded.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    step()
    began = time.perf_counter()
    step()
    return {"mib": status("VmHWM") - before, "seconds": time.perf_counter() - began}


def main() -> None:
    """Measure each combination in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rows", type=int, nargs="+", default=[1], help="values of `loss_micro_batch`, beside none")
    parser.add_argument("--ways", nargs="+", choices=["cache", "packed"], default=["cache", "packed"])
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, group, tokens, rows, world = arguments.child
        print(json.dumps(measure(way, int(group), int(tokens), int(rows) or None, Path(world))))
        return
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    world = Path(tempfile.mkdtemp())
    build(world, seed=0, size="small")
    with growing_table("way", "G", "tokens", "`loss_micro_batch`", "MiB", "seconds") as add:
        for group, tokens in itertools.product(arguments.groups, arguments.tokens):
            for way, rows in itertools.product(arguments.ways, [0, *arguments.rows]):
                words = [way, str(group), str(tokens), str(rows), str(world)]
                command = [sys.executable, __file__, "--child", *words]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found = json.loads(output.strip().splitlines()[-1])
                cells = (
                    str(group),
                    str(tokens),
                    str(rows or "null"),
                    f"{found['mib']:.0f}",
                    f"{found['seconds']:.2f}",
                )
                add(way, *cells)


if __name__ == "__main__":
    main()
