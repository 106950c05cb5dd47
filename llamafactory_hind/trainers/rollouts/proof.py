"""Invented completions of representative prompts: what the modes of scoring are compared on before the first rollout."""

from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.encoding import media_token_ids
from ..proof_rows import representative_rows
from .batch import RolloutBatch, bare_batch, prompt_of


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel
    from ..row_guard import RowGuard


def representative_rows_of(train_dataset: Any, eval_dataset: Any) -> list[Any]:
    """Return representative prompts of what a run trains on, else of what it evaluates on."""
    sets = [train_dataset, *(eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset])]
    dataset = next((rows for rows in sets if rows is not None), None)
    if dataset is None:
        return []
    return [dataset[place] for place in representative_rows(dataset, ["prompt_input_ids"])]


def proof_batches(
    dataset: Any,
    loaded: "LoadedModel",
    *,
    length: int,
    size: int,
    device: torch.device,
    guard: "RowGuard | None" = None,
) -> list[RolloutBatch]:
    """Return two completions of each representative prompt, random words; the same on every process and in every start of a run.

    Args:
        dataset: processed training rows.
        loaded: of the policy.
        length: tokens of the longer completion, the longest that a run may write: no row of the run is longer.
        size: prompts of a batch, as in training.
        device: of the tensors.
        guard: puts good rows in the place of those that cannot be read.
    """
    rows = [dataset[place] for place in representative_rows(dataset, ["prompt_input_ids"])]
    prompts = [prompt_of(row) for row in (rows if guard is None else guard.good(rows))]
    unwanted = {*loaded.tokenizer.all_special_ids, *media_token_ids(loaded)}
    words = torch.tensor(sorted(set(range(len(loaded.tokenizer))) - unwanted))
    generator = torch.Generator().manual_seed(0)

    def invented(tokens: int) -> list[int]:
        return words[torch.randint(len(words), (tokens,), generator=generator)].tolist()

    groups = [[invented(length), invented(max(1, length // 2))] for _ in prompts]
    return [
        bare_batch(prompts[start : start + size], groups[start : start + size], device=device)
        for start in range(0, len(prompts), size)
    ]
