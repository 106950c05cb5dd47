"""The trainer's own log-probs of what a server wrote: the only proof that it serves the weights that it was given.

Labels of weights are set by the client and prove nothing; equal token ids say nothing of pixels.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from ..interface import Prompt
from ..local.encoding import collate
from ..local.scoring import plain_token_logprobs


if TYPE_CHECKING:
    from ..local.weights import LoadedModel

PROBED_PROMPTS = 2  # [ours]
PROBED_TOKENS = 32  # [ours]


def own_logps(
    loaded: "LoadedModel",
    answered: Sequence[Prompt],
    *,
    temperature: float,
    precision: AbstractContextManager[Any],
) -> list[list[float]]:
    """Return the policy's log-probs of each answer's tokens, at the temperature they were written at."""
    model = loaded.model
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision:
            inputs, labels = collate(loaded, answered, padding_side="right")
            logps = plain_token_logprobs(model, inputs, labels, temperature=temperature)
    finally:
        model.train(training)
    return [row[len(prompt.input_ids) : prompt.length].tolist() for row, prompt in zip(logps, answered, strict=True)]
