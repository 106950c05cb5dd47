"""Choices of one question about a picture scored together, beside one forward pass a choice.

    python benchmarks/rank.py [--choices 4 10 50] [--rounds 3] [--side 16] [--hidden 256] [--layers 6]

A Qwen2.5-VL of the given size with random weights, float32, no gradient. The picture has `side` x `side` tokens; every choice has
about ten. Together: `LocalEngine.score`, as `pipeline: rank` calls it, after its first call, in which it proves that sharing changes
nothing. Apart: one whole forward pass a choice with our chunked output head. Medians over rounds, both in turn.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from llamafactory_hind.engines.interface import Request
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.scoring import token_logprobs
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.toyworld.checkpoint import tiny_config


PATCH = 28
GOAL = 0.3  # at 50 choices


def build_loaded(world: str, hidden: int, layers: int) -> LoadedModel:
    """Return a model of the given size with the tokenizer and processor of a world's checkpoint."""
    modules = load_tokenizer(ModelArguments(model_name_or_path=world, image_max_pixels=2**22))
    tokenizer = modules["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen2_vl"))
    config = tiny_config(tokenizer)
    for name, value in {
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": hidden // 64,
        "layer_types": ["full_attention"] * layers,
    }.items():
        setattr(config.text_config, name, value)
    config.vision_config.out_hidden_size = hidden
    torch.manual_seed(0)
    return LoadedModel(Qwen2_5_VLForConditionalGeneration(config).eval(), tokenizer, modules["processor"], template)


def measure(loaded: LoadedModel, count: int, side: int, rounds: int) -> dict[str, float]:
    """Return medians in seconds, their ratio, and the largest difference of a choice's log-likelihood."""
    noise = torch.randint(0, 256, (side * PATCH, side * PATCH, 3), generator=torch.Generator().manual_seed(1))
    picture = Image.fromarray(noise.to(torch.uint8).numpy())
    request = Request([{"role": "user", "content": "<image>where does the red thing live ?"}], images=[picture])
    choices = [f"it lives in caves and eats moss at the left {number}" for number in range(count)]
    engine = LocalEngine(loaded, batch_size=count)

    def together() -> list[float]:
        return [score.logprob for score in asyncio.run(engine.score([request] * count, choices))]

    @torch.no_grad()
    def apart() -> list[float]:
        sums = []
        for choice in choices:
            inputs, labels = collate(loaded, [engine.encode(request, choice)], padding_side="right")
            sums.append(token_logprobs(loaded.model, inputs, labels).sum().item())
        return sums

    first, second = together(), apart()  # the proof, and warm caches
    times: dict[str, list[float]] = {"together": [], "apart": []}
    for _ in range(rounds):
        for name, run in (("together", together), ("apart", apart)):
            times[name].append(_seconds(run))
    medians = {name: statistics.median(some) for name, some in times.items()}
    difference = max(abs(one - other) for one, other in zip(first, second, strict=True))
    return medians | {"ratio": medians["together"] / medians["apart"], "difference": difference}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    from llamafactory_hind.toyworld.build import build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", type=int, nargs="+", default=[4, 10, 50])
    for name, default in (("rounds", 3), ("side", 16), ("hidden", 256), ("layers", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    keys = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), seed=0, size="small")
        loaded = build_loaded(f"{folder}/tiny", keys.hidden, keys.layers)
        print("| choices | together, s | apart, s | ratio | difference, nats |\n|---|---|---|---|---|")
        for count in keys.choices:
            found = measure(loaded, count, keys.side, keys.rounds)
            print(
                f"| {count} | {found['together']:.3f} | {found['apart']:.3f} | {found['ratio']:.2f} | "
                f"{found['difference']:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
