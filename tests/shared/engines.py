"""An untrained checkpoint that behaves like a speaking one, for tests of engines and pipelines."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from llamafactory_hind.engines.interface import Completion, Engine, Request, Sampling, Score
from llamafactory_hind.engines.local.encoding import collate
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.formats.prompts.wording import build_prompt


def ask(prompt: str, image: Path) -> Request:
    return Request([{"role": "user", "content": prompt}], images=[str(image)])


def generate(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
    """What an engine writes, for tests outside an event loop."""
    return asyncio.run(engine.generate(requests, sampling))


def score_texts(engine: Engine, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
    return asyncio.run(engine.score(requests, texts))


@torch.no_grad()
def make_representative(loaded: LoadedModel, world: Path) -> None:
    """Give the stop token about a third of the probability."""
    model = loaded.model
    one = LocalEngine(loaded, batch_size=8)
    rows = json.loads((world / "rows" / "hindsight_train.json").read_text())[:8]
    asked = [ask(build_prompt("knowledge", row["question"], images=1), world / row["images"][0]) for row in rows]
    sampling = Sampling(n=4, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=10, seed=0)
    written = generate(one, asked, sampling)
    told = [one.encode(request, c.token_ids) for request, found in zip(asked, written, strict=True) for c in found]
    inputs, labels = collate(loaded, told, padding_side="right")
    output = model(**inputs, output_hidden_states=True)
    # the row of the stop token is fitted to the states met while writing
    states = output.hidden_states[-1][:, :-1][labels[:, 1:] != -100]
    wanted = output.logits[:, :-1][labels[:, 1:] != -100].logsumexp(-1) - 0.7
    model.lm_head.weight[loaded.tokenizer.eos_token_id] = torch.linalg.lstsq(states, wanted[:, None]).solution[:, 0]
