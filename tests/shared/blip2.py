"""A tiny but real BLIP-2: architecture from a config, the real processor, the tokenizer of the small world."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor


QUERIES = 4
WIDTH = 32


def write_blip2(folder: Path, tokenizer_of: Path, *, reads_text: bool = True) -> Path:
    """Write untrained weights, processor and tokenizer of a decoder-only BLIP-2 into a folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    size = {"height": 28, "width": 28}
    processor = Blip2Processor(BlipImageProcessor(size=size), tokenizer, num_query_tokens=QUERIES)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.05}
    config = Blip2Config(
        vision_config={"hidden_size": WIDTH, "image_size": 28, "patch_size": 14, **small},
        qformer_config={
            "hidden_size": WIDTH,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 128,
            "use_qformer_text_input": reads_text,
            **small,
        },
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 256,
            "dropout": 0.0,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_text_hidden_size=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Blip2ForConditionalGeneration(config)
        torch.nn.init.normal_(model.query_tokens, std=0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
