"""Families that read text."""

from .record import DROPPED, EXPERTS, MIXED, WINDOW, Family


SLIDING = {"sliding_window": WINDOW}
NARROW = {"num_key_value_heads": 4}  # families without grouped heads
FALCON = {"head_dim": DROPPED, "new_decoder_architecture": False}
LATENT = {  # DeepSeek-V3
    **NARROW,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
LINEAR = {  # Qwen3-Next
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "decoder_sparse_step": 1,
    "shared_expert_intermediate_size": 16,
    **EXPERTS,
}
CHUNKS = {  # Llama 4
    "num_hidden_layers": 4,
    "attention_chunk_size": WINDOW,
    "intermediate_size_mlp": 40,
    "num_local_experts": 2,
    "no_rope_layers": [1, 1, 1, 0],
    "attn_temperature_tuning": False,
}

TEXTS = [
    Family("Llama", "llama"),
    Family("Qwen2", "qwen2"),
    Family("Qwen2, sliding", "qwen2", {**MIXED, "use_sliding_window": True}, features="window, layers differ"),
    Family("Qwen3", "qwen3"),
    Family("Qwen3-MoE", "qwen3_moe", EXPERTS),
    Family("Qwen3-Next", "qwen3_next", LINEAR, features="linear attention"),
    Family("GLM-4", "glm4"),
    Family("OLMo 2", "olmo2"),
    Family("OPT", "opt", {"ffn_dim": 40, "word_embed_proj_dim": 32, "dropout": 0.0}, features="learnt positions"),
    Family("DeepSeek-V3", "deepseek_v3", LATENT, features="latent attention"),
    Family("Cohere", "cohere", {"logit_scale": 2.0}),
    Family("Cohere 2", "cohere2", {**MIXED, "logit_scale": 2.0}, features="window, layers differ"),
    Family(
        "Granite",
        "granite",
        {
            "attention_multiplier": 0.4,
            "embedding_multiplier": 1.5,
            "residual_multiplier": 0.8,
            "logits_scaling": 0.7,
        },
    ),
    Family(
        "Gemma 2",
        "gemma2",
        {**MIXED, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
        attention="eager",
        features="window, layers differ, soft-caps (`flash_attn: disabled`)",
    ),
    Family("Gemma 3, text", "gemma3_text", {**MIXED, "query_pre_attn_scalar": 8}, features="window, layers differ"),
    Family(
        "gpt-oss",
        "gpt_oss",
        {**MIXED, "num_local_experts": 4, "num_experts_per_tok": 2},
        features="window, layers differ, sinks",
    ),
    Family("Llama 4, text", "llama4_text", CHUNKS, features="chunks, layers differ"),
    Family(
        "Llama 4, text, tuned temperature",
        "llama4_text",
        {**CHUNKS, "attn_temperature_tuning": True, "floor_scale": 8, "attn_scale": 0.5},
        features="chunks, layers differ, `attn_temperature_tuning`",
        padding_counts=True,
    ),
    Family("Mistral", "mistral", SLIDING, features="window"),
    Family("Phi-3", "phi3", {**SLIDING, "rope_theta": 10000.0}, features="window"),
    Family("Starcoder2", "starcoder2", SLIDING, features="window"),
    Family("Mixtral", "mixtral", {**SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2}, features="window"),
    Family("Falcon, rotary", "falcon", {"alibi": False, **FALCON}),
    Family("Falcon, ALiBi", "falcon", {"alibi": True, **FALCON}, features="ALiBi"),
    Family("BLOOM", "bloom", {"n_layer": 2, "n_head": 4}, features="ALiBi"),
    Family(
        "GPT-Neo",
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
        features="window, layers differ",
    ),
    Family("MPT", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, features="ALiBi"),
    Family("OLMo 3", "olmo3", MIXED, features="window, layers differ"),
    Family(
        "SmolLM3",
        "smollm3",
        {**MIXED, "use_sliding_window": True, "no_rope_layers": [1, 0, 1, 0]},
        features="window, layers differ",
    ),
    Family("Ministral 3", "ministral3", features=""),
    Family(
        "Mamba 2",
        "mamba2",
        {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "expand": 2},
        features="state",
    ),
]
