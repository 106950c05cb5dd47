"""The steps of a completion, a line each, for weights that belong to a step (SOD, arXiv 2605.07725)."""

from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer

    from ...trainers.rollouts.batch import RolloutBatch


class LineSegments:
    """Numbers the lines of completions by their tokens."""

    def __init__(self, tokenizer: "PreTrainedTokenizer") -> None:
        """Look at tokens when they are met: a vocabulary is long, a batch is not."""
        self.tokenizer = tokenizer
        self._seen: dict[int, tuple[bool, bool]] = {}

    def __call__(self, batch: "RolloutBatch") -> torch.Tensor:
        """Return the number of each token's line, (R, S) long, from 0; -1 where there is no token. Blank lines belong to the one before."""
        rows = []
        for ids, there in zip(batch.tokens.tolist(), batch.mask.tolist(), strict=True):
            line, ended, numbers = 0, False, []
            for token, real in zip(ids, there, strict=True):
                ends, blank = self._look(token)
                if real and ended and not blank:
                    line, ended = line + 1, False
                ended = ended or ends
                numbers.append(line if real else -1)
            rows.append(numbers)
        return torch.tensor(rows, device=batch.tokens.device)

    def _look(self, token: int) -> tuple[bool, bool]:
        """Whether a token ends a line, and whether it holds nothing but white space."""
        if token not in self._seen:
            text = str(self.tokenizer.decode([token]))
            self._seen[token] = ("\n" in text, bool(text) and not text.strip())
        return self._seen[token]
