"""Weights through the host's loader, LoRA adapters kept apart from them: generator, answerer and base share one copy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import get_infer_args
from llamafactory.model import load_model, load_tokenizer
from peft import PeftModel

from ...formats.media.host_view import set_way
from ...formats.texts.control_tokens import ControlTokens


if TYPE_CHECKING:
    import torch
    from llamafactory.data.template import Template
    from transformers import PreTrainedModel, PreTrainedTokenizer, ProcessorMixin


@dataclass
class LoadedModel:
    """A model as the host loads it, with adapters that can be switched.

    Attributes:
        adapters: path -> name in the model, of those loaded so far.
    """

    model: "PreTrainedModel | PeftModel"
    tokenizer: "PreTrainedTokenizer"
    processor: "ProcessorMixin | None"
    template: "Template"
    adapters: dict[str, str] = field(default_factory=dict)

    def add_adapters(self, paths: Sequence[str]) -> None:
        """Load the adapters of `paths` that are not there yet, none merged.

        Raises:
            ValueError: several of them replace whole modules (`additional_target`), which cannot be added up.
        """
        for path in paths:
            if path in self.adapters:
                continue
            name = f"adapter_{len(self.adapters)}"
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(path, adapter_name=name, is_trainable=False)
            else:
                self.model = PeftModel.from_pretrained(self.model, path, adapter_name=name, is_trainable=False)
            self.adapters[path] = name
        self.model.requires_grad_(False)
        self.model.eval()
        replaced = [path for path in paths if self.model.peft_config[self.adapters[path]].modules_to_save]
        if len(paths) > 1 and replaced:
            raise ValueError(
                f"adapter_name_or_path: {', '.join(replaced)} replace whole modules, expected plain LoRA where several adapters "
                "are added up. Merge them first with `llamafactory-cli export`."
            )

    @contextmanager
    def active(self, paths: Sequence[str] | None) -> Iterator[None]:
        """Let exactly the adapters of `paths` speak: () is the base, None the model as it is."""
        if paths is None or not isinstance(self.model, PeftModel):
            yield
            return
        if paths:
            self.model.base_model.set_adapter([self.adapters[path] for path in paths])
            self.model.requires_grad_(False)  # peft marks the chosen ones trainable
        with nullcontext() if paths else self.model.disable_adapter():
            yield


def control_tokens_of(model_name_or_path: str, settings: Mapping[str, Any]) -> ControlTokens:
    """Return what the tokenizer of a model takes for signs of its own; no weights are loaded. Arguments as in `load_weights`."""
    model_args, data_args, _, _ = get_infer_args(
        {"model_name_or_path": model_name_or_path, "finetuning_type": "lora", **settings}
    )
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    return ControlTokens.of(tokenizer, template)


def load_weights(
    model_name_or_path: str, *, settings: Mapping[str, Any], device: "torch.device | str | None" = None
) -> LoadedModel:
    """Load tokenizer, processor, template and model through the host, exactly as `sft` does.

    Args:
        model_name_or_path: folder or hub name.
        settings: host keys (`engines.host_keys`): template, image_max_pixels, infer_dtype, quantization_bit …
        device: where the whole model goes; None lets the host spread it over what is there.
    """
    arguments = {"model_name_or_path": model_name_or_path, "finetuning_type": "lora", **settings}
    model_args, data_args, finetuning_args, _ = get_infer_args(arguments)
    if device is not None:
        model_args.device_map = {"": device}
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    set_way(template.mm_plugin, as_host=getattr(data_args, "media_as_host", False))
    model = load_model(modules["tokenizer"], model_args, finetuning_args, is_trainable=False)
    return LoadedModel(model, modules["tokenizer"], modules["processor"], template)
