"""The memory of one process on its device, part by part, from keys, heads of files and configurations; nothing is loaded.

Kept all the time: weights, gradients, optimizer, reference, teachers. On top comes the larger of two that are never there at once:
the cache of what is written, and the activations of what is learnt.
"""

from pathlib import Path
from typing import Any, NamedTuple

from llamafactory.model.model_utils.visual import COMPOSITE_MODELS

from ..config import ROWS
from ..engines.teachers.plan import read_teacher_plan
from ..trainers.rollouts.writing import ROWS_AT_ONCE
from .weights import TextSizes, Weights, model_type, stored_weights, text_sizes


ADAM = 8  # bytes a trained number: two moments in float32
GRADIENT = 4  # bytes a trained number, which the host trains in float32 unless `pure_bf16`
HALF, SINGLE = 2, 4
# [ours] bits of a quantised number with what describes its block: NF4 in blocks of 64 takes 4.13 to 4.5
QUANTISED = {4: 4.5, 8: 8.1}
NOT_QUANTISED = ("embed", "lm_head", "norm", "bias")
# [ours] numbers that a layer keeps of a token for its backward pass: 10 of the width of its states, 4 of that of its MLP
STATES_KEPT, MLP_KEPT = 10, 4
NOT_IN_LORA = ("embed", "lm_head", "norm", "bias")


class Memory(NamedTuple):
    """Bytes of one process, by what they hold.

    Attributes:
        kept: name -> bytes that are there all the time.
        writing: the cache of completions; 0 where a server writes, or nothing is written.
        learning: activations of a pass that learns.
        optimizer: its states of all processes, as a checkpoint has them.
        unknown: what is not among them, in words.
    """

    kept: dict[str, float]
    writing: float
    learning: float
    optimizer: float
    unknown: tuple[str, ...]

    @property
    def peak(self) -> float:
        """All of it at its highest."""
        return sum(self.kept.values()) + max(self.writing, self.learning)


def estimate_memory(args: Any, weights: Weights, processes: int = 1) -> Memory:
    """Estimate the memory of one process.

    FSDP2 splits weights, gradients and optimizer, and writing gathers the weights; ZeRO-2 splits gradients and optimizer; DDP splits
    nothing.

    Args:
        args: the host's five argument objects.
        weights: of the policy.
        processes: of the run.
    """
    keys, unknown = args.finetuning, list[str]()
    split_all = processes if args.training.fsdp else 1
    split = processes if args.training.fsdp or args.training.deepspeed else 1
    half = bool(args.training.bf16 or args.training.fp16)
    trained, added = _trained(args, weights)
    wide = HALF if keys.pure_bf16 else SINGLE
    frozen = weights.numbers - trained
    size = HALF if half else SINGLE
    resting = _stored(weights, args.model.quantization_bit, size) * frozen / max(weights.numbers, 1)
    kept = {
        "weights": wide * (trained + added) / split_all + resting / (split_all if added else 1),  # towers stay whole
        "gradients": (HALF if keys.pure_bf16 else GRADIENT) * (trained + added) / split,
        "optimizer": ADAM * (trained + added) / split,
    }
    if getattr(keys, "kl_beta", 0) and keys.finetuning_type != "lora":
        kept["reference"] = float(trained * size)  # what is frozen is shared with the policy
    if getattr(keys, "teacher", None):
        kept["teachers"] = _teachers(args, weights, unknown)
    sizes = text_sizes(Path(str(args.model.model_name_or_path)))
    if sizes is None:
        unknown.append("the cache of completions and the activations (no sizes in config.json)")
        return Memory(kept, 0.0, 0.0, kept["optimizer"] * split, tuple(unknown))
    writing = _writing(args, sizes, size)
    if split_all > 1 and ROWS.get(keys.stage) == "prompts":
        writing += weights.numbers * size  # gathered once a step
    return Memory(kept, writing, _learning(args, sizes, size), kept["optimizer"] * split, tuple(unknown))


def _trained(args: Any, weights: Weights) -> tuple[int, int]:
    """Return how many numbers of the model are trained, and how many new ones a LoRA adds."""
    keys = args.finetuning
    composite = COMPOSITE_MODELS.get(model_type(Path(str(args.model.model_name_or_path))) or "")
    off: list[str] = []
    if composite is not None:
        off += composite.vision_model_keys if keys.freeze_vision_tower else []
        off += composite.projector_keys if keys.freeze_multi_modal_projector else []
        off += composite.language_model_keys if keys.freeze_language_model else []
    if keys.finetuning_type == "full":
        return weights.numbers - weights.numbers_of(off), 0
    if keys.finetuning_type != "lora":
        return 0, 0
    asked = list(keys.lora_target)
    hidden = (*off, *NOT_IN_LORA) if asked == ["all"] else ()
    added = 0
    for name, shape in weights.shapes.items():
        named = asked == ["all"] or any(target in name for target in asked)
        if len(shape) == 2 and named and not any(part in name for part in hidden):
            added += keys.lora_rank * sum(shape)
    return 0, added


def _stored(weights: Weights, bits: int | None, size: int) -> float:
    """Return the bytes of weights as they are held, quantised or not."""
    if bits not in QUANTISED:
        return float(weights.numbers * size)
    whole = weights.numbers_of(NOT_QUANTISED)
    return (weights.numbers - whole) * QUANTISED[bits] / 8 + whole * HALF


def _teachers(args: Any, weights: Weights, unknown: list[str]) -> float:
    """Return the bytes of local teachers on this device at one time; those that are offloaded come one by one."""
    together, largest = 0.0, 0.0
    try:
        plan = read_teacher_plan(args.finetuning.teacher)
    except ValueError:  # reported by itself
        unknown.append("the teachers, whose file cannot be read")
        return 0.0
    for spec in plan.teachers.values():
        if spec.server is not None or spec.device not in (None, "cuda", "cuda:0"):
            continue
        if spec.kind == "base" and args.finetuning.finetuning_type == "lora":
            continue
        own = weights if spec.kind == "base" else stored_weights(Path(str(spec.model_name_or_path)))
        if own is None:
            unknown.append(f"the teacher {spec.model} (no local folder of safetensors)")
            continue
        wide = spec.settings.get("infer_dtype") == "float32"
        held = _stored(own, spec.settings.get("quantization_bit"), SINGLE if wide else HALF)
        together, largest = (together, max(largest, held)) if spec.offload else (together + held, largest)
    return together + largest


def _writing(args: Any, sizes: TextSizes, size: int) -> float:
    """Return the bytes of the cache: prompts once, every completion; at the longest that `cutoff_len` allows."""
    keys = args.finetuning
    if ROWS.get(keys.stage) != "prompts" or keys.rollout_engine != "hf":
        return 0.0
    step = args.training.per_device_train_batch_size * args.training.gradient_accumulation_steps
    prompts = min(step, max(args.training.per_device_train_batch_size, ROWS_AT_ONCE // keys.num_generations))
    tokens = prompts * (args.data.cutoff_len + keys.num_generations * args.generating.max_new_tokens)
    return float(size * sizes.cached * tokens)


def _learning(args: Any, sizes: TextSizes, size: int) -> float:
    """Return the bytes of activations: of one layer beside a checkpoint a layer, or of all layers."""
    keys, rows = args.finetuning, args.training.per_device_train_batch_size
    if ROWS.get(keys.stage) == "prompts":
        at_once = min(keys.loss_micro_batch or keys.num_generations, keys.num_generations)
        tokens = rows * args.data.cutoff_len + rows * at_once * args.generating.max_new_tokens
    else:
        tokens = rows * args.data.cutoff_len * (2 if ROWS.get(keys.stage) == "pairs" else 1)
    layer = STATES_KEPT * sizes.hidden + MLP_KEPT * sizes.intermediate
    if args.model.disable_gradient_checkpointing:
        return float(size * tokens * sizes.layers * layer)
    return float(size * tokens * (sizes.layers * sizes.hidden + layer))
