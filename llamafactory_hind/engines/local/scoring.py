"""Log-probabilities of given ids under any causal (vision-)language model the host can load, never a (B, T, V) tensor.

The model's own output head is asked for log-probs instead of logits: for the length of one forward pass its `forward`
is replaced, so that parameter gathering (ZeRO, FSDP), data-parallel hooks and adapters around it keep working.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...losses.logprobs import linear_logprobs
from .proof import Difference, disagreement, nudged, rounded_otherwise


if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel


IGNORE_INDEX = -100  # the host's label of a position that is not scored
TEXT_HEADS = {"gemma3n", "gemma4"}  # models with pictures that soft-cap their logits as their text model does
CHUNK_TOKENS = 1024  # [ours] rows of hidden states whose logits exist at one time

# hidden states (M, H) that predict the scored tokens, the output head as `head_arguments` describes it, the tokens (M,);
# M counts the scored positions row by row
Reader = Callable[[torch.Tensor, dict[str, Any], torch.Tensor], Any]


class UnsupportedHead(ValueError):
    """The model turns hidden states into logits in a way the chunked head does not reproduce."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside data-parallel and engine wrappers."""
    while hasattr(model, "module") and isinstance(model.module, nn.Module):
        model = model.module
    return model


def output_head(model: nn.Module) -> nn.Module:
    """Return the module that maps hidden states (B, T, H) to logits (B, T, V), adapters around it included."""
    head = unwrap(model).get_output_embeddings()
    if head is None:
        raise UnsupportedHead(
            f"{type(unwrap(model)).__name__} has no output embeddings: log-probs cannot be computed."
        )
    return head


def freeze_output_head(body: torch.nn.Module) -> None:
    """Train no weight that only logits would use: there are none, and DDP waits for every gradient that it was promised."""
    embeddings = {id(weight) for weight in base_model(body).get_input_embeddings().parameters()}
    for weight in output_head(body).parameters():
        if id(weight) not in embeddings:  # tied weights are trained as embeddings
            weight.requires_grad_(False)


def head_arguments(model: "PreTrainedModel", head: nn.Module) -> dict[str, Any]:
    """Describe an output head in the terms of `losses.logprobs.linear_logprobs`.

    Returns:
        Keywords `weight` (V, H), `bias` (V,) or None, `lora` (A (r, H), B (V, r), scaling) or None, `temperature`, `softcap`.

    Raises:
        UnsupportedHead: quantised head, DoRA, several active adapters on the head, an unknown wrapper.
    """
    lora = None
    base = head
    if hasattr(base, "modules_to_save") and hasattr(base, "original_module"):  # peft ModulesToSaveWrapper
        disabled = bool(getattr(base, "_disable_adapters", False)) or not base.active_adapters
        base = base.original_module if disabled else base.modules_to_save[base.active_adapters[0]]
    if hasattr(base, "lora_A") and hasattr(base, "base_layer"):
        active = [name for name in base.active_adapters if name in base.lora_A]
        if base.disable_adapters or base.merged or not active:
            active = []
        if len(active) > 1 or any(getattr(base, "use_dora", {}).get(name, False) for name in active):
            raise UnsupportedHead(
                f"The output head carries adapters {active} (DoRA or more than one): train one plain LoRA on it, "
                "or leave the head out of `lora_target`."
            )
        if active:
            name = active[0]
            dropout = base.lora_dropout[name]
            if base.training and isinstance(dropout, nn.Dropout) and dropout.p > 0:
                raise UnsupportedHead("LoRA dropout on the output head is not supported: set `lora_dropout: 0`.")
            lora = (base.lora_A[name].weight, base.lora_B[name].weight, float(base.scaling[name]))
        base = base.base_layer
    weight = getattr(base, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or not weight.is_floating_point():
        raise UnsupportedHead(
            f"The output head is a {type(base).__name__} without a floating point (V, H) weight (quantised?): "
            "exclude the head from quantisation."
        )
    config = _config_of_head(model, head)
    temperature = 1.0
    if getattr(config, "logit_scale", None):  # Cohere: logits * logit_scale
        temperature = 1.0 / float(config.logit_scale)
    if getattr(config, "logits_scaling", None):  # Granite: logits / logits_scaling
        temperature = float(config.logits_scaling)
    return {
        "weight": weight,
        "bias": getattr(base, "bias", None),
        "lora": lora,
        "temperature": temperature,
        "softcap": getattr(config, "final_logit_softcapping", None),
    }


def _config_of_head(model: "PreTrainedModel", head: nn.Module) -> Any:
    """Return the config whose logit scale and soft-cap apply: of a model with pictures that owns the head, few apply the text's."""
    text = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    wrapper = text is not model.config and any(child is head for child in base_model(model).children())
    return model.config if wrapper and model.config.model_type not in TEXT_HEADS else text


@contextmanager
def head_replaced(model: nn.Module, compute: Any) -> Iterator[None]:
    """Let `compute(hidden)` stand in for the output head while the block runs."""
    head = output_head(model)
    own_forward = head.__dict__.get("forward")  # accelerate and peft may have put one on the instance
    head.forward = compute
    try:
        yield
    finally:
        if own_forward is None:
            del head.forward
        else:
            head.forward = own_forward


def read_tokens(
    model: nn.Module,
    inputs: "Mapping[str, Any]",
    labels: torch.Tensor,
    *,
    read: Reader,
    sources: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let `read` turn the hidden states that predict `labels` into one value each, where the model would compute logits.

    Args:
        model: a causal language model, plain or wrapped (DDP, DeepSpeed, FSDP, PEFT).
        inputs: what the host's collator made, without `labels`.
        labels: (B, T) ids; -100 where nothing is scored.
        read: see `Reader`; returns (M,).
        sources: (B, T) index of the position whose hidden state predicts each label; default t - 1.

    Returns:
        (B, T) what `read` returned, 0 where `labels` is -100 and at position 0.
    """
    if sources is None:
        labels = labels.clone()
        labels[:, 0] = IGNORE_INDEX
    rows, columns = (labels != IGNORE_INDEX).nonzero(as_tuple=True)  # (M,), (M,)
    hidden_columns = columns - 1 if sources is None else sources[rows, columns]
    targets = labels[rows, columns]
    inner = unwrap(model)
    head = output_head(model)
    scored: list[torch.Tensor] = []

    def compute(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        picked = hidden[rows, hidden_columns]  # (M, H)
        values = read(picked, head_arguments(inner, head), targets)
        full = values.new_zeros(labels.shape).index_put((rows, columns), values)  # (B, T)
        scored.append(full)
        return full.unsqueeze(-1)  # stands where logits stood: keeps the head in the graph that wrappers see

    with head_replaced(model, compute):
        logits = model(**inputs, use_cache=False, return_dict=True).logits  # (B, T, 1)
    # FSDP gathers the head again when a gradient reaches the model's output, so the graph must lead there first. The
    # value is ours: some models cap or scale what comes out of their head.
    return scored[0] + 0.0 * logits[..., 0] if torch.is_grad_enabled() else scored[0]


def token_logprobs(
    model: nn.Module,
    inputs: "Mapping[str, Any]",
    labels: torch.Tensor,
    *,
    sources: torch.Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    temperature: float = 1.0,
    also: Reader | None = None,
) -> torch.Tensor:
    """Score `labels` under `model`: entry [b, t] is log p(labels[b, t] | what position `sources[b, t]` has seen).

    Args:
        model: a causal language model, plain or wrapped (DDP, DeepSpeed, FSDP, PEFT).
        inputs: what the host's collator made, without `labels`.
        labels: (B, T) ids; -100 where nothing is scored.
        sources: (B, T) index of the position whose hidden state predicts each label; default t - 1.
        chunk_tokens: rows of hidden states whose logits exist at one time.
        temperature: of the distribution that is scored; it divides the model's own logits.
        also: is shown the same hidden states and the head, while the head is there; its result is not used.

    Returns:
        (B, T) float32 log-probs, 0 where `labels` is -100 and at position 0.
    """

    def read(hidden: torch.Tensor, head: dict[str, Any], targets: torch.Tensor) -> torch.Tensor:
        if also is not None:
            also(hidden, head, targets)
        scaled = {**head, "temperature": head["temperature"] * temperature}
        return linear_logprobs(hidden[None], targets=targets[None], chunk_tokens=chunk_tokens, **scaled)[0]

    return read_tokens(model, inputs, labels, read=read, sources=sources)


def plain_token_logprobs(
    model: nn.Module, inputs: "Mapping[str, Any]", labels: torch.Tensor, *, temperature: float = 1.0
) -> torch.Tensor:
    """Do what `token_logprobs` does, the model's own way: full logits, log-softmax, gather. (B, T) float32."""
    return _logps_of(_full_logits(model, inputs, labels), labels, temperature)


def plain_with_noise(
    model: nn.Module, inputs: "Mapping[str, Any]", labels: torch.Tensor, *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `plain_token_logprobs`, and the same from logits that are rounded once more; (B, T) each, of one pass."""
    logits = _full_logits(model, inputs, labels)
    return _logps_of(logits, labels, temperature), _logps_of(rounded_otherwise(logits), labels, temperature)


def _full_logits(model: nn.Module, inputs: "Mapping[str, Any]", labels: torch.Tensor) -> torch.Tensor:
    """Return the model's own logits (B, K, V) of the last K positions, which score all labels."""
    first = int((labels != IGNORE_INDEX).any(0).nonzero()[0])
    keep = {}
    if first > 0 and "logits_to_keep" in inspect.signature(base_model(model).forward).parameters:
        keep = {"logits_to_keep": labels.shape[1] - first + 1}  # the prompt's logits are not needed
    return model(**inputs, **keep, use_cache=False, return_dict=True).logits


def _logps_of(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    scored = labels[:, labels.shape[1] - logits.shape[1] + 1 :]  # (B, K - 1)
    logps = (logits.float() / temperature)[:, :-1].log_softmax(-1)
    logps = logps.gather(-1, scored.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    logps = logps.masked_fill(scored == IGNORE_INDEX, 0.0)
    return torch.nn.functional.pad(logps, (labels.shape[1] - logps.shape[1], 0))


def base_model(model: nn.Module) -> nn.Module:
    """Return the transformers model inside wrappers and adapters."""
    model = unwrap(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def computes_in_half(model: nn.Module) -> bool:
    """Whether a pass of the model rounds to half precision, by its weights or by autocast."""
    inner = base_model(model)
    return torch.is_autocast_enabled(inner.device.type) or inner.dtype not in (torch.float32, torch.float64)


def otherwise(model: nn.Module, *, half: bool | None = None) -> AbstractContextManager[None]:
    """Return the context in which a pass rounds otherwise; see `proof.nudged`."""
    half = computes_in_half(model) if half is None else half
    return nudged(base_model(model).get_input_embeddings(), half=half)


@torch.no_grad()
def check_head(
    model: nn.Module, inputs: "Mapping[str, Any]", labels: torch.Tensor, *, temperature: float = 1.0
) -> None:
    """Compare the chunked head with the model's own logits on one small batch.

    Raises:
        UnsupportedHead: they differ, so the model does something to its logits that is not known here.
    """
    scored = labels != IGNORE_INDEX
    scored[:, 0] = False
    ours = token_logprobs(model, inputs, labels, temperature=temperature)[scored]
    own, rounded = (some[scored] for some in plain_with_noise(model, inputs, labels, temperature=temperature))
    reason = disagreement(ours, own, Difference.of(own, rounded), half=computes_in_half(model))
    if reason is not None:
        raise UnsupportedHead(
            f"{type(base_model(model)).__name__} changes its logits in a way the chunked head does not reproduce: {reason}. "
            "Please report the model's name; `stage: dpo` works meanwhile."
        )
