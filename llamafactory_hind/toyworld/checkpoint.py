"""A tiny but real Qwen2.5-VL: architecture from a config, the real processor, a byte-level BPE tokenizer trained on the corpus."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)


TRANSFORMERS_5 = int(transformers.__version__.partition(".")[0]) >= 5
# the order of the released Qwen2.5-VL tokenizer, which has them after the merges, as we do
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1024  # at most; the world has words for about 675: bytes, special tokens, merges
INITIALIZER_RANGE = 0.06  # near 1/sqrt(width); at the released 0.02 the first 50 steps of 32 learn nothing
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Train a byte-level BPE with Qwen's text splitting and special tokens; same texts, same tokenizer."""
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = _qwen2_tokenizer(
        raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in ("<|endoftext|>", "<|im_end|>")],
        model_max_length=32768,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _qwen2_tokenizer(raw: Tokenizer, **options: object) -> Qwen2Tokenizer:
    if TRANSFORMERS_5:
        model = json.loads(raw.to_str())["model"]
        return Qwen2Tokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]], **options)
    with tempfile.TemporaryDirectory() as folder:  # transformers 4 (LLaMA-Factory 0.9.4) reads files
        vocab, merges = raw.model.save(folder)
        return Qwen2TokenizerFast(vocab_file=vocab, merges_file=merges, **options)


def build_processor(tokenizer: Qwen2Tokenizer, smallest_frame: int | None = None) -> Qwen2_5_VLProcessor:
    """The real processor with the released patch sizes (14 pixels, merged 2 x 2).

    Args:
        tokenizer: of the checkpoint.
        smallest_frame: side of the smallest frame of a video that is not enlarged; None is the released size, 317 pixels.
    """
    limits = {} if smallest_frame is None else {"size": {"shortest_edge": smallest_frame**2, "longest_edge": 602112}}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**limits),
        chat_template=CHAT_TEMPLATE,
    )


@dataclass(frozen=True)
class TextSize:
    """Of the text model; heads are 32 wide, two share their keys and values, and the vision tower is the same in all sizes."""

    width: int
    inner: int
    layers: int


TINY = TextSize(width=128, inner=384, layers=4)
LARGER = TextSize(width=192, inner=576, layers=6)  # the untrained teacher of `gated_distill`


def tiny_config(tokenizer: Qwen2Tokenizer, size: TextSize = TINY) -> Qwen2_5_VLConfig:
    """About a million parameters: 2 vision layers, 4 text layers, width 128; ``LARGER`` has 6 of width 192.

    The rotary base is small: with the released 1e6 the slow frequencies, where mRoPE keeps the image's rows and columns, would hardly
    turn over a 3 x 3 grid, and the model could not tell places apart.
    """
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6]}
    rotary = (
        {"rope_parameters": {**rope, "rope_theta": 10.0}}
        if TRANSFORMERS_5
        else {"rope_scaling": rope, "rope_theta": 10.0}
    )
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.width,
            "intermediate_size": size.inner,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.width // 32,
            "num_key_value_heads": size.width // 64,
            "max_position_embeddings": 4096,
            "initializer_range": INITIALIZER_RANGE,
            **rotary,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "out_hidden_size": size.width,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "initializer_range": INITIALIZER_RANGE,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        initializer_range=INITIALIZER_RANGE,
    )


def write_checkpoint(
    directory: Path, texts: Iterable[str], seed: int, size: TextSize = TINY, smallest_frame: int | None = None
) -> None:
    """Write tokenizer, processor and untrained weights; same texts, seed and size, same files."""
    tokenizer = train_tokenizer(texts)
    build_processor(tokenizer, smallest_frame).save_pretrained(directory)
    config = tiny_config(tokenizer, size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.text_config.bos_token_id,
        eos_token_id=config.text_config.eos_token_id,
        pad_token_id=config.text_config.pad_token_id,
    )
    model.save_pretrained(directory)
