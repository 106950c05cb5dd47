"""Weights of a policy in training as files that vLLM loads: an adapter as peft writes it, or the whole model with it merged."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.model.model_utils.visual import COMPOSITE_MODELS
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from ...storage.atomic import remove, sync_tree
from ...storage.checkpoints import publish


if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"  # the host's name of the adapter that is trained
LORA_PARTS = ("lora_", "ranknum", "original_module")


def write_weights(model: torch.nn.Module, folder: Path, *, lora: bool) -> Path:
    """Write a folder that appears at one stroke, and return its full path, which servers are told.

    Args:
        model: in training, not wrapped.
        folder: its name is not taken yet.
        lora: the adapter alone.
    """
    staged = folder.with_name(f"{folder.name}.tmp")
    remove(staged)
    staged.mkdir(parents=True)
    if lora:
        assert isinstance(model, PeftModel)
        model.save_pretrained(str(staged), selected_adapters=[ADAPTER], safe_serialization=True)
    else:
        bare: PreTrainedModel = model.get_base_model() if isinstance(model, PeftModel) else model
        state = merged_state(model) if isinstance(model, PeftModel) else None
        bare.save_pretrained(str(staged), state_dict=state, safe_serialization=True)
    sync_tree(staged)
    publish(staged, folder)
    return folder.resolve()


@torch.no_grad()
def merged_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Return the weights of the bare model with the adapter added, W + B A s; the model itself stays as it is.

    `merge_adapter` and `unmerge_adapter` would change the last digits of the trained model at every sync.
    """
    bare = model.get_base_model()
    state = {}
    for name, tensor in bare.state_dict().items():
        if any(part in name for part in LORA_PARTS):
            continue
        state[name.replace(".base_layer", "").replace(f".modules_to_save.{ADAPTER}", "")] = tensor
    for name, module in bare.named_modules():
        if isinstance(module, BaseTunerLayer) and ADAPTER in getattr(module, "active_adapters", ()):
            weight = state[f"{name}.weight"]
            delta = module.get_delta_weight(ADAPTER)  # type: ignore[attr-defined]
            state[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
    return state


def why_not_lora(model: torch.nn.Module) -> str | None:
    """Return why vLLM cannot serve what is trained as an adapter, or would serve it wrongly; None where it can."""
    if not isinstance(model, PeftModel):
        return "no adapter is trained"
    config = model.peft_config[ADAPTER]
    if getattr(config, "use_dora", False):
        return "vLLM serves no DoRA"
    if getattr(config, "modules_to_save", None):
        return "vLLM serves no whole modules beside an adapter (`additional_target`)"
    if getattr(config, "bias", "none") != "none":
        return "vLLM serves no adapter with biases"
    outside = _outside_language(model.get_base_model())
    if outside is not None:
        return f"vLLM takes an adapter outside the language model ({outside}) and ignores it"
    return None


def _outside_language(model: Any) -> str | None:
    """Return the first adapted module that belongs to a tower or a projector."""
    composite = COMPOSITE_MODELS.get(getattr(model.config, "model_type", ""))
    if composite is None:
        return None
    keys = [*composite.projector_keys, *composite.vision_model_keys]
    adapted = (name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))
    return next((name for name in adapted if any(f".{key}." in f".{name}." for key in keys)), None)
