"""Prompts of the online stages that carry their turns with them, for stages that ask the same question in other words."""

import json
from collections import defaultdict
from typing import Any

from .external_processor import PlacedPromptProcessor


class ConversationProcessor(PlacedPromptProcessor):
    """`PlacedPromptProcessor` with one feature more: `conversation`, JSON of `system`, `tools` and `turns`.

    Token ids cannot be turned back into turns, and rows of the host's formats have no column with their question.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the features of `PlacedPromptProcessor`, and `conversation`.

        Raises:
            BadRowsError: as there.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        for values in zip(*(examples[name] for name in names), strict=True):
            example = dict(zip(names, values, strict=True))
            features = super().preprocess_dataset({name: [value] for name, value in example.items()})
            for name, some in features.items():
                model_inputs[name] += some
            model_inputs["conversation"] += [conversation_of(example)] * len(features.get("row_id", ()))
        return model_inputs


def conversation_of(example: dict[str, Any]) -> str:
    """Return system text, tools and the turns up to the user's last of an aligned example, as JSON."""
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in example["_prompt"]]
    content = {"system": example["_system"] or "", "tools": example["_tools"] or "", "turns": turns}
    return json.dumps(content, ensure_ascii=False)
