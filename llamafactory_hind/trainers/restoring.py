"""Weights back from a checkpoint, whole.

transformers 5 saves some models (Qwen2.5-VL among them) under other key names than they have in memory, and its Trainer resumes by
`load_state_dict(strict=False)`: no key matches, a warning scrolls by, and training goes on from the first weights.
`from_pretrained` knows the names.
"""

from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, Trainer


if TYPE_CHECKING:
    from os import PathLike


def load_weights(model: PreTrainedModel, checkpoint: "str | PathLike[str]") -> None:
    """Copy the weights of `checkpoint` into `model`, in place and bit for bit; each tensor keeps the model's dtype."""
    # float32 holds every half precision value exactly; a checkpoint may mix both (trained in float32, frozen in bfloat16)
    saved = type(model).from_pretrained(checkpoint, config=model.config, torch_dtype=torch.float32)
    model.load_state_dict(saved.state_dict())


class RestoringTrainer(Trainer):
    """`transformers.Trainer` whose resumed and best weights are the saved ones."""

    def _restores_itself(self, model: Any) -> bool:
        return isinstance(model, PreTrainedModel) and not self.is_deepspeed_enabled and not self.is_fsdp_enabled

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._restores_itself(model or self.model):
            load_weights(model or self.model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self._restores_itself(self.model):
            load_weights(self.model, self.state.best_model_checkpoint)
        else:
            super()._load_best_model()
