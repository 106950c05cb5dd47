"""``python -m llamafactory_hind.toyworld.evaluate --model DIR --data DIR``: what a checkpoint sees and reads on held-out images."""

import argparse
import asyncio
import json
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from .report import plain_table


TESTS = ("see_test", "read_test")


def accuracies(model: str, data: Path, *, batch_size: int) -> dict[str, tuple[float, int]]:
    """Greedy exact-match accuracy and number of held-out questions, by question type.

    ``tell`` and ``know`` are what the corpus says this time, true or not: no model can be right more often than the popular share.
    """
    from ..engines.interface import Request, Sampling
    from ..engines.local.engine import LocalEngine
    from ..engines.local.weights import load_weights

    rows = [row for name in TESTS for row in json.loads((data / "rows" / f"{name}.json").read_text())]
    engine = LocalEngine(load_weights(model, settings={"template": "qwen2_vl"}), batch_size=batch_size)
    requests = [
        Request(row["messages"][:1], images=[str(data / image) for image in row.get("images") or []]) for row in rows
    ]
    greedy = Sampling(n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=64, seed=0, greedy_first=True)
    written = asyncio.run(engine.generate(requests, greedy))
    right = defaultdict(list)
    for row, completions in zip(rows, written, strict=True):
        kind = row["types"][0]
        right[kind].append(completions[0].text.strip() == row["messages"][1]["content"])
    return {kind: (sum(hits) / len(hits), len(hits)) for kind, hits in sorted(right.items())}


def main(argv: list[str] | None = None) -> None:
    """Print the table and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint to load, as in training")
    parser.add_argument("--data", type=Path, required=True, help="the world's directory")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args(argv)
    found = accuracies(arguments.model, arguments.data, batch_size=arguments.batch_size)
    rows = [(kind, f"{accuracy:.1%}", str(count)) for kind, (accuracy, count) in found.items()]
    Console().print(plain_table(None, ("question", "accuracy", "questions"), rows))
    if arguments.out:
        content = {
            "accuracy": {k: v for k, (v, _) in found.items()},
            "questions": {k: n for k, (_, n) in found.items()},
        }
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
