"""Hidden states of teachers for all completions of a step, so that each teacher reads them in one go.

A teacher whose weights wait in main memory then travels to the device once a step, not once a micro-batch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch


if TYPE_CHECKING:
    from ...engines.interface import Prompt
    from ...trainers.rollouts.batch import RolloutBatch


class KeptStates:
    """States by teacher, prompt and completion, so that any part of a micro-batch finds its own.

    M tokens take M x Ht numbers: 16 completions of 1,024 tokens and a width of 5,120 are 168 MB in bfloat16.

    Args:
        dtype: of what is kept; None is the teacher's own.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        """Keep nothing yet."""
        self.dtype = dtype
        # the prompt stands beside its states: its id must not name another one
        self._states: dict[tuple[str, int, tuple[int, ...]], tuple[Prompt, torch.Tensor]] = {}
        self._heads: dict[str, dict[str, Any]] = {}

    def keep(self, name: str, part: "RolloutBatch", hidden: torch.Tensor, head: Mapping[str, Any]) -> None:
        """Keep what a teacher says of `part.tokens[part.mask]`: states (M, Ht) and its head."""
        self._heads[name] = dict(head)
        kept = hidden.detach() if self.dtype is None else hidden.detach().to(self.dtype)
        lengths = part.mask.sum(1).tolist()
        for row, states in enumerate(torch.split(kept, lengths)):
            prompt = part.prompts[int(part.owners[row])]
            self._states[name, id(prompt), tuple(part.completion(row))] = (prompt, states)

    def find(self, name: str, part: "RolloutBatch") -> tuple[torch.Tensor, dict[str, Any]] | None:
        """Return the states (M, Ht) of a part and the head; None where one of its completions is not there."""
        if not self._states:
            return None
        found = []
        for row, owner in enumerate(part.owners.tolist()):
            kept = self._states.get((name, id(part.prompts[owner]), tuple(part.completion(row))))
            if kept is None:
                return None
            found.append(kept[1])
        head = self._heads[name]
        return torch.cat(found).to(head["weight"].dtype if self.dtype is not None else found[0].dtype), head

    def clear(self) -> None:
        """Forget all."""
        self._states.clear()
        self._heads.clear()
