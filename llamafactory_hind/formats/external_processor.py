"""Prompts of the online stages that carry file and row with them, for errors about columns that are read later."""

from collections import defaultdict
from typing import Any

from .prompt_processor import PromptProcessor, row_id_of


class PlacedPromptProcessor(PromptProcessor):
    """`PromptProcessor` with one feature more: `place`, file and number of the row; its id where that is not known."""

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the features of `PromptProcessor`, and `place`.

        Raises:
            BadRowsError: as there.
        """
        model_inputs: dict[str, list[Any]] = defaultdict(list)
        names = list(examples)
        for values in zip(*(examples[name] for name in names), strict=True):
            example = dict(zip(names, values, strict=True))
            # a row alone: one that is skipped leaves no feature, and no place
            features = super().preprocess_dataset({name: [value] for name, value in example.items()})
            for name, some in features.items():
                model_inputs[name] += some
            model_inputs["place"] += [example.get("_source") or row_id_of(example)] * len(features.get("row_id", ()))
        return model_inputs
