"""Requests as tokens and batches, through the host's template, mm_plugin and collator: what `sft` would make of them."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.data.collator import MultiModalDataCollatorForSeq2Seq
from llamafactory.extras.constants import IGNORE_INDEX

from ...formats.media.fields import MEDIA_FIELDS
from ..interface import Prompt, Request
from .scoring import base_model


if TYPE_CHECKING:
    from .weights import LoadedModel


def encode(loaded: "LoadedModel", request: Request, answer: str | Sequence[int] | None = None) -> Prompt:
    """Turn a request into the tokens that `sft` would make of it; nothing is cut.

    Args:
        loaded: their template, tokenizer and processor are used.
        request: the conversation.
        answer: the assistant turn as text or as token ids; None where it is to be written.
    """
    template = loaded.template
    text = answer if isinstance(answer, str) else ""
    media = [list(getattr(request, kind)) for kind in MEDIA_FIELDS]
    messages = template.mm_plugin.process_messages(
        [*request.messages, {"role": "assistant", "content": text}], *media, loaded.processor
    )
    prompt_ids, answer_ids = template.encode_oneturn(loaded.tokenizer, messages, request.system)
    prompt_ids, _ = template.mm_plugin.process_token_ids(prompt_ids, None, *media, loaded.tokenizer, loaded.processor)
    if answer is None:
        answer_ids = []
    elif not isinstance(answer, str):
        answer_ids = list(answer)
    elif template.efficient_eos:  # such templates leave the stop token to the processor
        answer_ids = [*answer_ids, loaded.tokenizer.eos_token_id]
    else:
        answer_ids = _until_stop(answer_ids, template.get_stop_token_ids(loaded.tokenizer))
    return Prompt(list(prompt_ids), list(answer_ids), request)


def _until_stop(ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """Drop what a template writes after the stop token (a line break): writing ends before it."""
    last = max((place for place, token in enumerate(ids) if token in stop_ids), default=len(ids) - 1)
    return list(ids[: last + 1])


def representative_prompts(prompts: Sequence[Prompt]) -> list[int]:
    """Return the places of prompts that would show a mistake: of each kind the one with the most media, and the longest."""
    places: set[int] = set()
    for kind in {prompt.kind for prompt in prompts}:
        own = [place for place, prompt in enumerate(prompts) if prompt.kind == kind]
        places.add(max(own, key=lambda place: prompts[place].length))
        places.add(max(own, key=lambda place: (len(prompts[place].media), prompts[place].length)))
    return sorted(places)


def collate(
    loaded: "LoadedModel", prompts: Sequence[Prompt], *, padding_side: str
) -> tuple[dict[str, Any], torch.Tensor]:
    """Return the model's inputs and the labels (B, T) of the answers, as the host's collator makes them."""
    tokenizer = copy.copy(loaded.tokenizer)
    tokenizer.padding_side = padding_side
    model = base_model(loaded.model)
    collator = MultiModalDataCollatorForSeq2Seq(
        template=loaded.template, processor=loaded.processor, tokenizer=tokenizer, model=model
    )
    features = [
        {
            "input_ids": prompt.input_ids + prompt.answer_ids,
            "attention_mask": [1] * prompt.length,
            "labels": [IGNORE_INDEX] * len(prompt.input_ids) + prompt.answer_ids,
            **{kind: list(getattr(prompt.request, kind)) for kind in MEDIA_FIELDS},
        }
        for prompt in prompts
    ]
    inputs = {}
    for name, value in collator(features).items():
        if isinstance(value, torch.Tensor):
            value = value.to(model.device, dtype=model.dtype if value.is_floating_point() else None)
        inputs[name] = value
    labels = inputs.pop("labels")
    inputs.pop("rope_deltas", None)
    return inputs, labels


def media_token_ids(loaded: "LoadedModel") -> list[int]:
    """Return the ids that stand for media: a model that writes one breaks the next forward pass."""
    plugin, tokenizer = loaded.template.mm_plugin, loaded.tokenizer
    names = ("image_token", "video_token", "audio_token", "vision_bos_token", "vision_eos_token")
    tokens = {getattr(plugin, name, None) for name in (*names, "audio_bos_token", "audio_eos_token")}
    ids = {tokenizer.convert_tokens_to_ids(token) for token in tokens if token}
    config = base_model(loaded.model).config
    for name in ("image", "video", "audio", "vision", "vision_start", "vision_end", "boi", "eoi"):
        ids |= {getattr(config, f"{name}_token_{ending}", None) for ending in ("id", "index")}
    size = base_model(loaded.model).get_output_embeddings().weight.shape[0]
    stops = set(loaded.template.get_stop_token_ids(tokenizer))
    known = {token for token in ids if isinstance(token, int) and 0 <= token < size}
    return sorted(known - stops - {tokenizer.unk_token_id, tokenizer.pad_token_id})
