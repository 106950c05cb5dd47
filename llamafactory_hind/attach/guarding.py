"""The host's collators over rows that we have read: a row that goes bad after the check is named or replaced."""

from functools import partial, wraps
from types import ModuleType
from typing import Any


COLLATORS = (
    "MultiModalDataCollatorForSeq2Seq",
    "SFTDataCollatorWith4DAttentionMask",
    "PairwiseDataCollatorWithPadding",
    "KTODataCollatorWithPadding",
)
PLACE = "place"  # the mark of a row that we have read; `formats.processors.origin` names it


def guard_collators(collator: ModuleType) -> None:
    """Guard every collator of the host; rows without our mark, and those that a collator hands on to its parent, are the host's."""
    for name in COLLATORS:
        kind = getattr(collator, name)
        if "__call__" in vars(kind):
            kind.__call__ = _guarded(kind.__call__)


def _guarded(host_call: Any) -> Any:
    @wraps(host_call)
    def __call__(self: Any, features: Any, *args: Any, **kwargs: Any) -> Any:
        if not features or PLACE not in features[0]:
            return host_call(self, features, *args, **kwargs)
        from ..trainers.host_guard import collate_guarded

        return collate_guarded(partial(host_call, self), features)

    return __call__


def write_no_stand_ins(module: ModuleType) -> None:
    """Let `generated_predictions.jsonl` have an empty prediction for a row that could not be read."""
    host_save = module.CustomSeq2SeqTrainer.save_predictions

    @wraps(host_save)
    def save_predictions(self: Any, dataset: Any, predict_results: Any, *args: Any, **kwargs: Any) -> Any:
        from ..trainers.host_guard import forget_stand_ins

        return host_save(self, dataset, forget_stand_ins(dataset, predict_results), *args, **kwargs)

    module.CustomSeq2SeqTrainer.save_predictions = save_predictions
