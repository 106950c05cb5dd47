"""The Trainer under every loop here: the host's YAML keys for optimisers, schedulers, precision, and exact restoring."""

import copy
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from llamafactory.train.trainer_utils import create_custom_optimizer, create_custom_scheduler
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel
from transformers.configuration_utils import PretrainedConfig

from ..engines.local.sharded import keep_towers_whole
from ..storage.checkpoints import STATE
from .saving import WholeSaves


if TYPE_CHECKING:
    from os import PathLike

    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from torch.utils.data import Sampler
    from transformers import Seq2SeqTrainingArguments, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import EvalLoopOutput


class HostArguments(NamedTuple):
    """What the host's parser gives a stage; `finetuning` and `data` hold our keys beside the host's."""

    model: "ModelArguments"
    data: "DataArguments"
    training: "Seq2SeqTrainingArguments"
    finetuning: "FinetuningArguments"
    generating: "GeneratingArguments"
    callbacks: "list[TrainerCallback] | None" = None


def precision_of(args: "TrainingArguments") -> AbstractContextManager[Any]:
    """Return the context of a run's mixed precision."""
    if args.bf16 or args.fp16:
        return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
    return nullcontext()


def dropout_off(model: torch.nn.Module) -> None:
    """Set every rate of dropout in a model to 0: its modules, and numbers that modules or their configs hand to functions.

    The model's own config keeps its rates: it is saved with the model. Modules that read theirs while they compute get a copy.
    """
    configs: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _zero_rates(module)
        config = vars(module).get("config")
        if isinstance(config, PretrainedConfig) and not isinstance(module, PreTrainedModel) and _rates(config):
            module.config = configs.setdefault(id(config), copy.deepcopy(config))
            _zero_rates(module.config)


def _rates(owner: object) -> list[str]:
    """Return the names of rates above 0: attention_dropout, layerdrop, drop_prob ..."""
    return [name for name, value in vars(owner).items() if "drop" in name and isinstance(value, float) and value > 0]


def _zero_rates(owner: object) -> None:
    for name in _rates(owner):
        setattr(owner, name, 0.0)


def load_weights(model: PreTrainedModel, checkpoint: "str | PathLike[str]") -> None:
    """Copy the weights of `checkpoint` into `model`, in place and bit for bit; each tensor keeps the model's dtype."""
    # float32 holds every half precision value exactly; a checkpoint may mix both (trained in float32, frozen in bfloat16)
    saved = type(model).from_pretrained(checkpoint, config=model.config, torch_dtype=torch.float32)
    model.load_state_dict(saved.state_dict())


def step_of(checkpoint: str) -> int:
    """Return the step at which a checkpoint was saved, 0 where it does not say."""
    try:
        return int(json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


class HostTrainer(WholeSaves):
    """`transformers.Trainer` with the host's optimisers and schedulers, whose resumed and best weights are the saved ones.

    transformers 5 saves some models (Qwen2.5-VL among them) under other key names than they have in memory, and its Trainer
    resumes by `load_state_dict(strict=False)`: no key matches, a warning scrolls by, and training goes on from the first weights.
    `from_pretrained` knows the names.

    Attributes:
        finetuning_args: the host's, set by the subclass.
    """

    finetuning_args: "FinetuningArguments"
    _resumed_step = 0

    def train(self, resume_from_checkpoint: "str | bool | None" = None, **kwargs: Any) -> Any:
        """Train from the beginning or from a checkpoint; one of the last step is loaded, and no further step is taken."""
        if isinstance(resume_from_checkpoint, str):
            self._resumed_step = step_of(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def set_initial_training_values(self, *args: Any, **kwargs: Any) -> Any:
        """Plan the run; one that has come to its last step has no epoch to do.

        The Trainer looks at the number of steps after a step only, so that a finished run would take one more.
        """
        epochs, steps_of_epoch, *rest, max_steps = super().set_initial_training_values(*args, **kwargs)
        if self._resumed_step >= max_steps:
            epochs = min(epochs, self._resumed_step // steps_of_epoch)
        return epochs, steps_of_epoch, *rest, max_steps

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Read the batches of an optimiser step; a model that FSDP2 has split is made ready for them."""
        keep_towers_whole(self.model)
        return super().get_batch_samples(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> "EvalLoopOutput":
        """Evaluate as the Trainer does; a model that FSDP2 has split is made ready for it."""
        keep_towers_whole(self.model)
        return super().evaluation_loop(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Build the optimiser the host's YAML keys ask for (GaLore, LoRA+, Muon ...), or the Trainer's own."""
        if self.optimizer is None:
            self.optimizer = create_custom_optimizer(self.model, self.args, self.finetuning_args)
        return super().create_optimizer(*args, **kwargs)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> "Sampler | None":
        if self.finetuning_args.disable_shuffling:
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler(*args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Build the scheduler the host's YAML keys ask for, or the Trainer's own."""
        create_custom_scheduler(self.args, num_training_steps, optimizer)
        return super().create_scheduler(num_training_steps, optimizer)

    def precision(self) -> AbstractContextManager[Any]:
        """The precision that training computes in, for passes that do not go through the wrapped model."""
        return precision_of(self.args)

    def placed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return `model` on the training device; one that is there is left alone, since a quantised one cannot be moved."""
        return model if next(model.parameters()).device == self.args.device else model.to(self.args.device)

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
