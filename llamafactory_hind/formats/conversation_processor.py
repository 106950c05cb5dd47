"""Prompts of the online stages that carry what later stages ask of a row: its place, for errors, and its turns, to ask in other words."""

import json
from collections import defaultdict
from typing import Any

from .processors.prompts import PromptProcessor, row_id_of


class ConversationProcessor(PromptProcessor):
    """`PromptProcessor` with two features more.

    `place` is file and number of the row, its id where that is not known. `conversation` is JSON of `system`, `tools` and `turns`:
    token ids cannot be turned back into turns, and rows of the host's formats have no column with their question.
    """

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the features of `PromptProcessor`, `place` and `conversation`.

        Raises:
            BadRowsError: as there.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        for values in zip(*(examples[name] for name in names), strict=True):
            example = dict(zip(names, values, strict=True))
            # a row alone: one that is skipped leaves no feature, no place and no turns
            features = super().preprocess_dataset({name: [value] for name, value in example.items()})
            kept = len(features.get("row_id", ()))
            features["place"] = [example.get("_source") or row_id_of(example)] * kept
            features["conversation"] = [conversation_of(example)] * kept
            for name, some in features.items():
                model_inputs[name] += some
        return model_inputs


def conversation_of(example: dict[str, Any]) -> str:
    """Return system text, tools and the turns up to the user's last of an aligned example, as JSON."""
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in example["_prompt"]]
    content = {"system": example["_system"] or "", "tools": example["_tools"] or "", "turns": turns}
    return json.dumps(content, ensure_ascii=False)
