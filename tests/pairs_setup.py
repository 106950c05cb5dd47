"""A tiny Qwen2.5-VL, its template and rows of every kind of media, for tests of pairs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer

from llamafactory_hind.trainers.pairs.collator import PairCollator


@dataclass
class PairSetup:
    """`features(kinds)` gives one processed row a kind: image, two_images, video, text."""

    world: Path
    attention: str = "sdpa"
    padding_side: str = "right"

    @cached_property
    def model_args(self) -> ModelArguments:
        flash = {"sdpa": "sdpa", "eager": "disabled"}[self.attention]
        return ModelArguments(model_name_or_path=str(self.world / "tiny"), flash_attn=flash)

    @cached_property
    def tokenizer_module(self) -> dict[str, Any]:
        module = load_tokenizer(self.model_args)
        module["tokenizer"].padding_side = self.padding_side
        return module

    @cached_property
    def template(self) -> Any:
        return get_template_and_fix_tokenizer(self.tokenizer_module["tokenizer"], DataArguments(template="qwen2_vl"))

    @cached_property
    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        arguments = FinetuningArguments(finetuning_type="full", freeze_vision_tower=False)
        return load_model(self.tokenizer_module["tokenizer"], self.model_args, arguments, is_trainable=True).eval()

    @cached_property
    def collator(self) -> PairCollator:
        return PairCollator(
            template=self.template,
            model=self.model,
            pad_to_multiple_of=8,
            label_pad_token_id=-100,
            **self.tokenizer_module,
        )

    def features(self, kinds: list[str]) -> list[dict[str, Any]]:
        images = sorted(str(path) for path in (self.world / "images").glob("*.png"))
        video = str(next((self.world / "clips").glob("*.mp4")))
        media = {
            "image": ("<image>What does the thing eat?", images[:1], []),
            "two_images": ("<image><image>Which of the two is red?", images[1:3], []),
            "video": ("<video>What moves first?", [], [video]),
            "text": ("What does a dax fear?", [], []),
        }
        answers = {"image": ("moss", "a dax eats plums"), "two_images": ("the first one", "none")}
        return [self._feature(*media[kind], *answers.get(kind, ("it is the ring", "bells"))) for kind in kinds]

    def _feature(self, question: str, images: list, videos: list, chosen: str, rejected: str) -> dict[str, Any]:
        tokenizer, processor = self.tokenizer_module["tokenizer"], self.tokenizer_module["processor"]
        ids = []
        for answer in (chosen, rejected):
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            messages = self.template.mm_plugin.process_messages(messages, images, videos, [], processor)
            prompt, response = self.template.encode_oneturn(tokenizer, messages)
            ids.append(response)
        return {
            "prompt_input_ids": prompt,
            "chosen_ids": ids[0],
            "rejected_ids": ids[1],
            "images": images,
            "videos": videos,
            "audios": [],
        }
