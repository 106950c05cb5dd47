"""Rows of a family as the host's collator makes them, by hand: ids, masks, positions, token types and pixels."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.attention import media_ids
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch

from .record import END, FIRST_WORD, IMAGE, IMAGE_TOKENS, LAST_WORD, PAD, START, Family


PROMPTS = ((9, 0), (24, 1), (33, 2))  # words and pictures
COMPLETIONS = (5, 13, 2, 16, 1, 9, 14, 4, 7)  # tokens, three a prompt: prompt and completion pass window and chunk


def words(count: int, seed: int) -> list[int]:
    return torch.randint(FIRST_WORD, LAST_WORD, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def prompt(family: Family, number: int) -> Prompt:
    """Return prompt `number`: pictures (named by number) behind two words, or at the very front (PaliGemma)."""
    length, pictures = PROMPTS[number]
    pictures = pictures if family.pictures else 0
    ids = words(length, seed=number)
    if family.pictures == "first":
        ids = [IMAGE] * IMAGE_TOKENS * pictures + ids
    else:
        ids = ids[:2] + [START, *[IMAGE] * IMAGE_TOKENS, END] * pictures + ids[2:]
    return Prompt(ids, [], Request([], images=[f"{number}{picture}" for picture in range(pictures)]))


def batch(family: Family) -> RolloutBatch:
    """Return three prompts of different lengths and nine completions of different lengths."""
    width = max(COMPLETIONS)
    mask = torch.arange(width) < torch.tensor(COMPLETIONS)[:, None]  # (R, S)
    tokens = torch.tensor([words(width, seed=100 + row) for row in range(len(COMPLETIONS))])
    owners = torch.arange(len(COMPLETIONS)) // 3
    return RolloutBatch(
        prompts=[prompt(family, number) for number in range(3)],
        owners=owners,
        tokens=tokens.where(mask, PAD),
        mask=mask,
        advantages=torch.zeros(len(COMPLETIONS)),
        streams={},
        sources=["policy"] * len(COMPLETIONS),
    )


def collated(
    family: Family, model: PreTrainedModel, rows: Sequence[tuple[list[int], Sequence[str]]], side: str
) -> dict[str, Any]:
    """Return the inputs of rows (ids, names of their pictures), padded on one side."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), PAD)
    mask = torch.zeros_like(ids)
    for row, (tokens, _) in enumerate(rows):
        place = slice(0, len(tokens)) if side == "right" else slice(width - len(tokens), width)
        ids[row, place] = torch.tensor(tokens)
        mask[row, place] = 1
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    marks = media_ids(model)
    if marks is not None:  # the host's tokenizer pads token types with 0
        inputs[marks.name] = torch.where(ids == IMAGE, marks.media, marks.text) * mask
    if family.pictures:
        inputs |= _pixels(family.pictures, [list(names) for _, names in rows])
    if family.pictures == "grid":
        inputs["position_ids"] = _positions(model, inputs)
    return inputs


def _positions(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    ids = inputs["input_ids"]
    given = {"image_grid_thw": inputs["image_grid_thw"], "attention_mask": inputs["attention_mask"]}
    rope = model.model.get_rope_index
    if "mm_token_type_ids" in rope.__code__.co_varnames:
        given["mm_token_type_ids"] = (ids == IMAGE).int()
    return rope(ids, **given)[0]


def _pixels(form: str, rows: list[list[str]]) -> dict[str, Any]:
    """Return what the towers take: 8 x 8 pixels a picture, the same wherever its name stands."""
    names = [name for row in rows for name in row]
    if form == "grid":
        return {
            "pixel_values": torch.cat([_noise(name, 16, 24) for name in names]),
            "image_grid_thw": torch.tensor([[1, 4, 4]] * len(names)),
        }
    if form == "nested":
        widest = max(len(row) for row in rows)
        pixels = torch.zeros(len(rows), widest, 3, 8, 8)  # what is zero is padding
        for row, own in enumerate(rows):
            for place, name in enumerate(own):
                pixels[row, place] = _noise(name, 3, 8, 8)
        return {"pixel_values": pixels}
    inputs = {"pixel_values": torch.stack([_noise(name, 3, 8, 8) for name in names])}
    if form == "sizes":
        inputs["image_sizes"] = torch.tensor([[8, 8]] * len(names))
    return inputs


def _noise(name: str, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 + int(name)))
