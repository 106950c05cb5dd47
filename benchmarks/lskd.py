"""ITM on three pairs a row, the picture computed once for its texts, beside the naive ITM on all N x N pairs.

    python benchmarks/lskd.py [--rows 8] [--rounds 3] [--side 16] [--words 24] [--hidden 256] [--layers 6]

A Qwen2.5-VL of the given size with random weights, float32, whole steps forward and backward: L_ITC + L_ITM + L_LM. A picture has
`side` x `side` tokens, a text about `words`. `three` is `stage: lskd`; `three apart` is `share_prefix: off`; `all` judges every
picture with every text, one whole row a pair; `without` is the same step without ITM. The vision tower is frozen, as the host has
it, and computed once in all of them. Medians over rounds, all in turn. A pair's time is what ITM adds, divided by the pairs judged.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rank import PATCH, build_loaded
from torch.nn import functional

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.encoding import encode
from llamafactory_hind.engines.local.matching.bodies import TEXT_KEYS
from llamafactory_hind.engines.local.matching.heads import MatchingHeads
from llamafactory_hind.engines.local.matching.model import Matcher, Wanted
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.trainers.lskd.collator import MatchingCollator


WORDS = [
    "the",
    "red",
    "ring",
    "at",
    "the",
    "left",
    "lives",
    "in",
    "caves",
    "and",
    "eats",
    "moss",
    "while",
    "a",
    "blue",
    "dax",
    "sings",
    "near",
    "bells",
]
GOAL = 0.25  # of the time of ITM on all pairs, at 8 rows


def build_batch(loaded: LoadedModel, rows: int, side: int, words: int) -> dict[str, Any]:
    """Return a batch of pictures of noise, each with a text of its own."""
    collator = MatchingCollator(
        template=loaded.template, processor=loaded.processor, tokenizer=loaded.tokenizer, model=loaded.model
    )
    features = []
    for number in range(rows):
        generator = torch.Generator().manual_seed(number)
        noise = torch.randint(0, 256, (side * PATCH, side * PATCH, 3), generator=generator).to(torch.uint8)
        picture = Image.fromarray(noise.numpy())
        answer = " ".join(WORDS[(number * 5 + place * (number + 1)) % len(WORDS)] for place in range(words))
        request = Request([{"role": "user", "content": "<image>what is told ?"}], images=[picture])
        prompt: Prompt = encode(loaded, request, answer)
        ids, labels = [*prompt.input_ids, *prompt.answer_ids], [-100] * len(prompt.input_ids) + list(prompt.answer_ids)
        features.append({"input_ids": ids, "labels": labels, "images": [picture], "picture": number})
    return collator(features)


def all_pairs(matcher: Matcher, batch: dict[str, Any]) -> torch.Tensor:
    """Return the loss of a step whose ITM judges every picture with every text, the mean over the pairs."""
    found = matcher(batch, Wanted("mean", itc=True, itm=False), seed=0)
    texts = {name: batch[name] for name in TEXT_KEYS}
    inputs = {name: value for name, value in batch.items() if name not in TEXT_KEYS}
    memory = matcher.reader.remember(matcher.body, inputs, texts)
    count = len(memory.tails)
    images = [row for row in range(count) for _ in range(count)]
    states = matcher.reader.match(matcher.body, matcher.heads, memory, images, memory.tails * count)
    matches = torch.eye(count, dtype=torch.long).flatten()
    return found.lm + found.itc.mean() + functional.cross_entropy(matcher.heads.match_logits(states), matches)


def three_pairs(matcher: Matcher, batch: dict[str, Any], *, itm: bool = True) -> torch.Tensor:
    """Return the loss of a step of `stage: lskd`."""
    found = matcher(batch, Wanted("mean", itc=True, itm=itm), seed=0)
    loss = found.lm + found.itc.mean()
    return loss + found.itm / len(found.itc) if itm else loss


def measure(loaded: LoadedModel, rows: int, side: int, words: int, rounds: int) -> dict[str, float]:
    """Return median seconds of each kind of step, and the largest difference of a gradient between shared and apart."""
    torch.manual_seed(0)
    model = loaded.model.requires_grad_(True).train()
    model.model.visual.requires_grad_(False)
    matcher = Matcher(model, MatchingHeads(model.get_output_embeddings().in_features), smoothing=0.1).train()
    batch = build_batch(loaded, rows, side, words)
    kinds = {
        "without": (False, lambda: three_pairs(matcher, batch, itm=False)),
        "three": (True, lambda: three_pairs(matcher, batch)),
        "three apart": (False, lambda: three_pairs(matcher, batch)),
        "all": (False, lambda: all_pairs(matcher, batch)),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    gradients: dict[str, torch.Tensor] = {}
    for turn in range(rounds + 1):
        for name, (packed, compute) in kinds.items():
            matcher.reader.packed = packed
            matcher.zero_grad()
            start = time.perf_counter()
            compute().backward()
            if turn:  # the first is for warm caches
                times[name].append(time.perf_counter() - start)
            gradients[name] = torch.cat([one.grad.flatten() for one in matcher.parameters() if one.grad is not None])
    difference = (gradients["three"] - gradients["three apart"]).abs().max().item()
    return {name: statistics.median(some) for name, some in times.items()} | {"gradient_difference": difference}


def main() -> None:
    """Print a table."""
    from llamafactory_hind.toyworld.build import build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = (("rows", 8), ("rounds", 3), ("side", 16), ("words", 24), ("hidden", 256), ("layers", 6))
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    keys = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), seed=0, size="small")
        loaded = build_loaded(f"{folder}/tiny", keys.hidden, keys.layers)
        found = measure(loaded, keys.rows, keys.side, keys.words, keys.rounds)
    print("| step | s | pairs | ITM, ms a pair | of `all`, ITM alone |\n|---|---|---|---|---|")
    whole = found["all"] - found["without"]
    for name, pairs in (
        ("without", 0),
        ("three", 3 * keys.rows),
        ("three apart", 3 * keys.rows),
        ("all", keys.rows**2),
    ):
        added = found[name] - found["without"]
        shown = f"{1000 * added / pairs:.1f} | {added / whole:.2f}" if pairs else "| "
        print(f"| {name} | {found[name]:.3f} | {pairs} | {shown} |")
    print(f"largest difference of a gradient, shared and apart: {found['gradient_difference']:.1e}")
    print(f"goal: `three` at most {GOAL} of `all`")


if __name__ == "__main__":
    main()
