"""Keys of the host that a stage of ours would ignore, or that would make it compute something else: why, and what to do.

One table for all stages, one for those that compare scores, and one for each kind of rows.
"""

from collections.abc import Callable
from typing import NamedTuple


class Refused(NamedTuple):
    """A key of the host that only some values of do no harm; unset (null) never does."""

    harmless: Callable[[object], bool]
    expected: str
    remedy: str


def switch(remedy: str) -> Refused:
    """Return the entry of a key that must stay off: false, 0 or empty."""
    return Refused(lambda value: not value, "unset or false", remedy)


def foreign(remedy: str) -> Refused:
    """Return the entry of a key that must not be given at all: its default, written out, would still promise something."""
    return Refused(lambda value: False, "unset", remedy)


def only(*values: object, remedy: str) -> Refused:
    """Return the entry of a key that may have these values alone."""
    shown = " or ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in values)
    return Refused(lambda value: value in values, f"{shown} or unset", remedy)


def of_stage(stage: str, names: str) -> dict[str, Refused]:
    """Return the entries of keys that one stage of the host reads."""
    return {name: foreign(f"Only the host's `stage: {stage}` reads it; remove it.") for name in names.split()}


NO_DROPOUT = "Dropout is off, so the model that is scored is the model that wrote; remove it."
NO_COMPILER = "The output head is replaced for each pass, which a compiled graph does not see; remove it."
LIGER = "It fuses head and loss, but log-probs are read at the head; use `enable_liger_kernel`, which leaves the head alone."
SFT_LOSS = "It replaces the loss of `stage: sft`; remove it."
TOKENS_PER_SECOND = "Every log line has `tokens_per_second`; remove it."

EVERYWHERE = {
    "use_dft_loss": switch(SFT_LOSS),
    "use_asft_loss": switch(SFT_LOSS),
    "use_eaft_loss": switch(SFT_LOSS),
    "moe_aux_loss_coef": switch("The balance loss of routers is part of `stage: sft` alone; remove it."),
    "module_dropout": switch(NO_DROPOUT),
    "finetuning_type": only("lora", "freeze", "full", remedy="Other tuning has not been tried with this stage."),
    "shift_attn": switch("It changes attention while training only, so scores are not the model's own; remove it."),
    "mixture_of_depths": switch("Which tokens a layer skips depends on the whole row, so a score does; remove it."),
    "use_unsloth": switch("It replaces the forward pass that log-probs are read from; remove it."),
    "use_kt": switch("KTransformers trains the host's `stage: sft` only; remove it."),
    "use_v1_kernels": switch("It changes the loaded model but not its reference, and is untried here; remove it."),
    "use_liger_kernel": switch(LIGER),
    "liger_kernel_config": switch(LIGER),
    "torch_compile": switch(NO_COMPILER),
    "torch_compile_backend": switch(NO_COMPILER),
    "torch_compile_mode": switch(NO_COMPILER),
    "torchdynamo": switch(NO_COMPILER),
    "jit_mode_eval": switch(NO_COMPILER),
    "use_badam": switch("BAdam needs a hook of the host's own trainers; use another optimiser, or GaLore or APOLLO."),
    "fp8": switch("Only the host's `stage: sft` and `pt` set it up; use `bf16: true`."),
    "use_mca": switch("Megatron Core runs the host's stages only; remove it."),
    "use_hyper_parallel": switch("HyperParallel runs `stage: sft` only; use DDP or DeepSpeed ZeRO-2."),
    "parallelism_config": switch("Whole texts and heads are needed; use DDP or DeepSpeed ZeRO-2."),
    "tp_size": only(0, 1, remedy="Whole heads are needed; use DDP or DeepSpeed ZeRO-2."),
    "average_tokens_across_devices": only(True, remedy="A step is always normalised over all processes."),
    "ignore_pad_token_for_loss": only(True, remedy="Padding is never learnt from."),
    "past_index": only(-1, remedy="No state is carried from batch to batch."),
    "compute_accuracy": switch("It is a metric of `stage: sft`; remove it."),
    "use_legacy_prediction_loop": switch("It has no effect on our evaluation; remove it."),
    "include_effective_tokens_per_second": switch(TOKENS_PER_SECOND),
    "include_tokens_per_second": switch(TOKENS_PER_SECOND),
    "generation_config": foreign("Only `predict_with_generate` of the host reads it; remove it."),
    "generation_max_length": foreign("Only `predict_with_generate` of the host reads it; remove it."),
    "generation_num_beams": foreign("Only `predict_with_generate` of the host reads it; remove it."),
    "eval_num_beams": foreign("Only `predict_with_generate` of the host reads it; remove it."),
    **of_stage("dpo", "pref_beta pref_ftx pref_bco_weight pref_loss dpo_label_smoothing simpo_gamma ld_alpha"),
    **of_stage("kto", "kto_chosen_weight kto_rejected_weight"),
    **of_stage("ppo", "ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards"),
    **of_stage("ppo", "reward_model reward_model_adapters reward_model_quantization_bit reward_model_type"),
}

SCORED = {  # pairs and prompts: what is random in one of two scores is not in the other
    "neftune_noise_alpha": switch("Noise would be in one of two scores that are compared; remove it."),
    "lora_dropout": switch(NO_DROPOUT),
}

ONE_PAIR = "A batch row is one pair; remove it (`share_prefix` is kepo's way to pack)."
NO_PISSA = "PiSSA changes the base weights, which the reference needs; train a plain LoRA."
NO_TEXT = "kepo writes no text; remove it."
PAIRS = {
    "pref_beta": foreign("Use `kepo_beta`."),
    "pref_loss": foreign("Use `kepo_loss`."),
    "pref_ftx": foreign("Use `kepo_nll_weight`."),
    "dpo_label_smoothing": foreign("kepo has no label smoothing; remove it."),
    "label_smoothing_factor": switch("kepo has no label smoothing; remove it."),
    "streaming": switch("Reference log-probs are computed once over a finite set; set `streaming: false`."),
    "packing": switch(ONE_PAIR),
    "neat_packing": switch(ONE_PAIR),
    "train_on_prompt": switch("A pair compares answers to one prompt; remove it."),
    "mask_history": switch("Only the two answers are scored; remove it."),
    "predict_with_generate": switch("kepo writes no text; evaluate generation with `stage: sft`."),
    "do_predict": switch("kepo writes no text; use `do_eval: true` here, or predict with `stage: sft`."),
    "pissa_init": switch(NO_PISSA),
    "pissa_convert": switch(NO_PISSA),
    "group_by_length": switch("A pair has no single length; remove it."),
    "train_sampling_strategy": only("random", "sequential", remedy="A pair has no single length to group by."),
    "do_sample": only(True, remedy=NO_TEXT),
    **dict.fromkeys(["temperature", "top_p", "top_k", "max_length", "max_new_tokens"], foreign(NO_TEXT)),
    "num_beams": only(1, remedy=NO_TEXT),
    "repetition_penalty": only(1, remedy=NO_TEXT),
    "length_penalty": only(1, remedy=NO_TEXT),
}

ONE_PROMPT = "A batch row is one prompt; remove it (`share_prefix` computes a prompt once for its group)."
LEARNT = "Only completions are learnt from; remove it."
PROMPTS = {
    "temperature": foreign("Use `rollout_temperature`."),
    "top_p": foreign("Use `rollout_top_p`."),
    "top_k": foreign("Use `rollout_top_k`."),
    "max_length": foreign("Use `max_new_tokens`."),
    "do_sample": only(True, remedy="Completions are always sampled; remove it."),
    "num_beams": only(1, remedy="Completions are sampled, not searched; remove it."),
    "length_penalty": only(1, remedy="Completions are sampled, not searched; remove it."),
    "repetition_penalty": only(1, remedy="The distribution that writes is the one that is scored; remove it."),
    "skip_special_tokens": only(True, remedy="Rewards and logs see texts without special tokens; remove it."),
    "use_kv_cache": only(True, remedy="Completions are written with the cache; remove it."),
    "label_smoothing_factor": switch("There are no labels to smooth; remove it."),
    "streaming": switch("Prompts are drawn from a finite set; set `streaming: false`."),
    "packing": switch(ONE_PROMPT),
    "neat_packing": switch(ONE_PROMPT),
    "train_on_prompt": switch(LEARNT),
    "mask_history": switch(LEARNT),
    "predict_with_generate": switch("Evaluation writes completions anyway; remove it."),
    "do_predict": switch("Use `do_eval: true` here, or predict with `stage: sft`."),
    "group_by_length": switch(
        "Completions are written while training, their lengths are not known before; remove it."
    ),
    "train_sampling_strategy": only("random", remedy="Prompts are shuffled in blocks of a step."),
    "auto_find_batch_size": switch(
        "Rollouts are kept for the batch they were written for; set `per_device_train_batch_size`."
    ),
    "accelerator_config": switch("Prompts are distributed in blocks of a step; remove it."),
    "dataloader_drop_last": switch("The last block of prompts is filled up, not dropped; remove it."),
    "bf16_full_eval": switch("Evaluation writes in the precision of training; remove it."),
    "fp16_full_eval": switch("Evaluation writes in the precision of training; remove it."),
}

ONE_ROW = "A batch row is one row with all its tasks; remove it (`share_prefix` is this stage's way to pack)."
GREEDY = "Evaluation writes greedy answers; remove it."
SEVERAL_TEXTS = "A row has several texts and no single length; remove it."
MULTITASK = {
    "packing": switch(ONE_ROW),
    "neat_packing": switch(ONE_ROW),
    "streaming": switch("Shared prompts are proved on a finite set; set `streaming: false`."),
    "train_on_prompt": switch("The tasks share their prompt; only answers and reasoning are learnt."),
    **dict.fromkeys(
        ["ref_model", "ref_model_adapters", "ref_model_quantization_bit"],
        foreign("Nothing is compared with a reference; remove it."),
    ),
    "label_smoothing_factor": switch("reason_sft has no label smoothing; remove it."),
    "predict_with_generate": switch("The host allows it for `stage: sft` alone; use `evaluate_answers`."),
    "do_predict": switch("Use `evaluate_answers` with `do_eval`, or predict with `stage: sft`."),
    "group_by_length": switch(SEVERAL_TEXTS),
    "train_sampling_strategy": only("random", "sequential", remedy=SEVERAL_TEXTS),
    "do_sample": only(True, remedy=GREEDY),
    **dict.fromkeys(["temperature", "top_p", "top_k"], foreign(GREEDY)),
    "max_length": foreign("Use `max_new_tokens`."),
    "num_beams": only(1, remedy=GREEDY),
    "repetition_penalty": only(1, remedy=GREEDY),
    "length_penalty": only(1, remedy=GREEDY),
}

ONE_TEXT = "A batch row is one text; remove it."
NO_WRITING = "A critic writes no text; remove it."
CRITIC = {
    "lora_dropout": switch("Dropout is off, so that a score is no random number; remove it."),
    "neftune_noise_alpha": switch("A score that is compared with a threshold is no random number; remove it."),
    "label_smoothing_factor": switch("critic has no label smoothing; remove it."),
    "streaming": switch("Evaluation ranks a finite set; set `streaming: false`."),
    "packing": switch(ONE_TEXT),
    "neat_packing": switch(ONE_TEXT),
    "train_on_prompt": switch("No token is learnt; remove it."),
    "mask_history": switch("No token is learnt; remove it."),
    "predict_with_generate": switch(NO_WRITING),
    "do_predict": switch("Use `do_eval: true`, or score rows with `llamafactory-cli synth`."),
    "ref_model": foreign("A critic has no reference; remove it."),
    "ref_model_adapters": foreign("A critic has no reference; remove it."),
    "ref_model_quantization_bit": foreign("A critic has no reference; remove it."),
    "pissa_init": switch("It has not been tried with heads beside the adapter; train a plain LoRA."),
    "pissa_convert": switch("It has not been tried with heads beside the adapter; train a plain LoRA."),
    "group_by_length": switch("Rows have no length before they are batched; remove it."),
    "train_sampling_strategy": only("random", "sequential", remedy="Rows have no length before they are batched."),
    "do_sample": only(True, remedy=NO_WRITING),
    **dict.fromkeys(["temperature", "top_p", "top_k", "max_length", "max_new_tokens"], foreign(NO_WRITING)),
    "num_beams": only(1, remedy=NO_WRITING),
    "repetition_penalty": only(1, remedy=NO_WRITING),
    "length_penalty": only(1, remedy=NO_WRITING),
}

ONE_PAIR_OF_PICTURE = (
    "A batch row is one picture with its text; remove it (`share_prefix` is this stage's way to pack)."
)
NO_TEXT_WRITTEN = "lskd writes no text; remove it."
OWN_LENGTHS = "Batches are for their negatives, which lengths would choose; remove it."
MATCHING = {
    "label_smoothing_factor": switch("Use `label_smoothing`, that of the contrast; the answer has none."),
    "streaming": switch("Evaluation ranks a finite set; set `streaming: false`."),
    "packing": switch(ONE_PAIR_OF_PICTURE),
    "neat_packing": switch(ONE_PAIR_OF_PICTURE),
    "train_on_prompt": switch("The picture and the text are what is compared; only the answer is learnt."),
    "predict_with_generate": switch(NO_TEXT_WRITTEN),
    "do_predict": switch("Use `do_eval: true`, or rank choices with `llamafactory-cli synth`."),
    **dict.fromkeys(
        ["ref_model", "ref_model_adapters", "ref_model_quantization_bit"],
        foreign("Nothing is compared with a reference; remove it."),
    ),
    "pissa_init": switch("It has not been tried with heads beside the adapter; train a plain LoRA."),
    "pissa_convert": switch("It has not been tried with heads beside the adapter; train a plain LoRA."),
    "group_by_length": switch(OWN_LENGTHS),
    "train_sampling_strategy": only("random", "sequential", remedy=OWN_LENGTHS),
    "do_sample": only(True, remedy=NO_TEXT_WRITTEN),
    **dict.fromkeys(["temperature", "top_p", "top_k", "max_length", "max_new_tokens"], foreign(NO_TEXT_WRITTEN)),
    "num_beams": only(1, remedy=NO_TEXT_WRITTEN),
    "repetition_penalty": only(1, remedy=NO_TEXT_WRITTEN),
    "length_penalty": only(1, remedy=NO_TEXT_WRITTEN),
}
