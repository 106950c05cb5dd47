"""Left-padded inputs of prompts: made once for writing and for learning, and cut where the last token opens each completion."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...engines.interface import Prompt
from ...engines.local.encoding import collate


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel

TOKEN_INPUTS = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


class PromptInputs:
    """Left-padded inputs of prompts, remembered for the same prompts until it is cleared."""

    def __init__(self, loaded: "LoadedModel") -> None:
        """Remember nothing."""
        self.loaded = loaded
        self._kept: list[tuple[list[Prompt], dict[str, Any]]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return what the host's collator makes of the prompts."""
        for known, inputs in self._kept:
            if len(known) == len(prompts) and all(one is other for one, other in zip(known, prompts, strict=True)):
                return dict(inputs)
        inputs, _ = collate(self.loaded, prompts, padding_side="left")
        self._kept.append((list(prompts), inputs))
        return dict(inputs)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def without_last(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the last token off left-padded prompts; media stay."""
    length = inputs["input_ids"].shape[-1]
    cut = {
        name: inputs[name][..., :-1] for name in TOKEN_INPUTS if name in inputs and inputs[name].shape[-1] == length
    }
    return {**inputs, **cut}
