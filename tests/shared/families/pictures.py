"""Families that see pictures: towers of one or two layers, four tokens a picture."""

from typing import Any

from .record import BOS, END, EOS, EXPERTS, IMAGE, IMAGE_TOKENS, MIXED, PAD, SIZES, START, VIDEO, Family


ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
TEXT = {**SIZES, "rope_parameters": ROTARY}
QWEN_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
    "tie_word_embeddings": False,
}
QWEN_TOWER = {"depth": 1, "num_heads": 2, "patch_size": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN3_TOWER = {
    **QWEN_TOWER,
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "attention_dropout": 0.0,
}
LINEAR = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
GEMMA3 = {**SIZES, **MIXED, "model_type": "gemma3_text", "query_pre_attn_scalar": 8}
FULL = {"layer_types": ["full_attention"] * 4}


def qwen(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    return {"text_config": text, "vision_config": vision, **QWEN_IDS}


def gemma3(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "text_config": text,
        "vision_config": {**TOWER, "model_type": "siglip_vision_model", "image_size": 8, "patch_size": 2},
        "mm_tokens_per_image": IMAGE_TOKENS,
        "image_token_index": IMAGE,
        "boi_token_index": START,
        "eoi_token_index": END,
        "tie_word_embeddings": False,
    }


def paligemma(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "text_config": text,
        "vision_config": {
            **TOWER,
            "model_type": "siglip_vision_model",
            "image_size": 8,
            "patch_size": 4,
            "projection_dim": 32,
            "vision_use_head": False,
        },
        "image_token_index": IMAGE,
        "projection_dim": 32,
        "hidden_size": 32,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "tie_word_embeddings": False,
    }


LLAVA = {
    "text_config": {**SIZES, "model_type": "llama"},
    "vision_config": {
        **TOWER,
        "model_type": "clip_vision_model",
        "image_size": 8,
        "patch_size": 4,
        "projection_dim": 16,
    },
    "image_token_index": IMAGE,
    "vision_feature_layer": -1,
    "tie_word_embeddings": False,
}
IDEFICS = {
    "text_config": {**SIZES, "model_type": "llama"},
    "vision_config": {**TOWER, "image_size": 8, "patch_size": 2},
    "image_token_id": IMAGE,
    "scale_factor": 2,
    "pad_token_id": PAD,
    "tie_word_embeddings": False,
}
INTERNVL = {
    "text_config": {**SIZES, "model_type": "qwen2"},
    "vision_config": {**TOWER, "image_size": [8, 8], "patch_size": [2, 2], "layer_scale_init_value": 0.5},
    "image_token_id": IMAGE,
    "image_seq_length": IMAGE_TOKENS,
    "tie_word_embeddings": False,
}
MISTRAL3 = {
    "text_config": {**SIZES, "model_type": "mistral", "sliding_window": None},
    "vision_config": {**TOWER, "model_type": "pixtral", "image_size": 8, "patch_size": 2, "head_dim": 8},
    "image_token_index": IMAGE,
    "spatial_merge_size": 2,
    "tie_word_embeddings": False,
}

PICTURES = [
    Family(
        "Qwen2-VL",
        "qwen2_vl",
        qwen(TEXT, {**QWEN_TOWER, "embed_dim": 16, "hidden_size": 32}),
        pictures="grid",
        features="mRoPE",
    ),
    Family(
        "Qwen2-VL, sliding",
        "qwen2_vl",
        qwen({**TEXT, **MIXED, "use_sliding_window": True}, {**QWEN_TOWER, "embed_dim": 16, "hidden_size": 32}),
        pictures="grid",
        features="mRoPE, window, layers differ",
    ),
    Family(
        "Qwen2.5-VL",
        "qwen2_5_vl",
        qwen(
            TEXT,
            {
                **QWEN_TOWER,
                "hidden_size": 16,
                "intermediate_size": 24,
                "out_hidden_size": 32,
                "window_size": 8,
                "fullatt_block_indexes": [0],
            },
        ),
        pictures="grid",
        features="mRoPE",
    ),
    Family(
        "Qwen3-VL",
        "qwen3_vl",
        qwen({**TEXT, "num_hidden_layers": 3}, QWEN3_TOWER),
        pictures="grid",
        features="mRoPE, deepstack",
    ),
    Family(
        "Qwen3-VL-MoE",
        "qwen3_vl_moe",
        qwen({**TEXT, **EXPERTS, "num_hidden_layers": 3}, QWEN3_TOWER),
        pictures="grid",
        features="mRoPE, deepstack",
    ),
    Family("Qwen3.5", "qwen3_5", qwen({**TEXT, **LINEAR}, QWEN3_TOWER), pictures="grid", features="linear attention"),
    Family(
        "GLM-4V",
        "glm4v",
        {
            "text_config": TEXT,
            "vision_config": {
                **QWEN_TOWER,
                "hidden_size": 16,
                "intermediate_size": 24,
                "out_hidden_size": 32,
                "image_size": 8,
            },
            "image_token_id": IMAGE,
            "video_token_id": VIDEO,
            "image_start_token_id": START,
            "image_end_token_id": END,
            "video_start_token_id": 94,
            "video_end_token_id": 95,
            "tie_word_embeddings": False,
        },
        pictures="grid",
        features="mRoPE",
    ),
    Family("LLaVA", "llava", LLAVA, pictures="pixels"),
    Family("Idefics 3", "idefics3", IDEFICS, pictures="nested"),
    Family("SmolVLM", "smolvlm", IDEFICS, pictures="nested"),
    Family("InternVL", "internvl", INTERNVL, pictures="pixels"),
    Family("Mistral 3", "mistral3", MISTRAL3, pictures="sizes"),
    Family(
        "Gemma 3, full layers alone",
        "gemma3",
        gemma3({**GEMMA3, **FULL}),
        pictures="pixels",
        features="bidirectional pictures",
    ),
    Family(
        "Gemma 3",
        "gemma3",
        gemma3(GEMMA3),
        pictures="pixels",
        features="bidirectional pictures, window, layers differ",
    ),
    Family(
        "PaliGemma",
        "paligemma",
        paligemma({**SIZES, "model_type": "gemma"}),
        pictures="first",
        features="bidirectional pictures",
    ),
    Family(
        "PaliGemma 2",
        "paligemma",
        paligemma({**SIZES, **MIXED, "model_type": "gemma2", "query_pre_attn_scalar": 8}),
        pictures="first",
        features="bidirectional pictures, window, layers differ",
    ),
]
