"""The body of BLIP-2 (arXiv 2301.12597): its Q-Former reads pictures, texts and pairs, its language model writes the target.

As in `Blip2ForImageTextRetrieval` of transformers: ITC compares the queries with the first state of the text, ITM reads queries and
text together. The picture goes through the vision tower once for all of it, the language model included.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ..scoring import base_model
from .bodies import Reading, row_sums
from .heads import MatchingHeads


class Memory(NamedTuple):
    """What pairs need of a batch: what the vision tower makes of its pictures, (N, P, V)."""

    pictures: torch.Tensor


class QFormerBody:
    """Reads with a Q-Former that takes texts."""

    travels = ("text_ids", "text_mask")

    def new_heads(self, model: nn.Module) -> MatchingHeads:
        """Return new heads, with the Q-Former's embeddings of words, which `Blip2ForConditionalGeneration` has none of.

        Raises:
            ValueError: the Q-Former takes no text.
        """
        config = base_model(model).config.qformer_config
        if not config.use_qformer_text_input:
            raise ValueError(
                "lskd: got a BLIP-2 whose Q-Former takes no text (`qformer_config.use_qformer_text_input: false`), expected one "
                "that does: ITC and ITM read the text with it. Set it to true in the model's config.json."
            )
        words = model.get_input_embeddings().weight.shape[0]
        return MatchingHeads(config.hidden_size, words=words, places=config.max_position_embeddings)

    def read(
        self,
        model: nn.Module,
        heads: MatchingHeads,
        inputs: Mapping[str, Any],
        texts: Mapping[str, torch.Tensor],
        *,
        lm: str | None,
        pairs: bool,
    ) -> Reading:
        """Read a batch; see `bodies.Body`."""
        if len(inputs["pixel_values"]) != len(inputs["input_ids"]):
            got = f"{len(inputs['pixel_values'])} pictures in {len(inputs['input_ids'])} rows"
            raise ValueError(
                f"lskd: got {got}, expected one a row: a Q-Former reads one picture. Leave the others out."
            )
        if lm is None:
            seen = base_model(model).get_image_features(inputs["pixel_values"])
            found = Reading(None)
        else:
            given = dict(inputs) if lm == "mean" else {key: some for key, some in inputs.items() if key != "labels"}
            seen = model(**given)
            found = Reading(
                seen.loss if lm == "mean" else None,
                row_sums(seen.logits, inputs["labels"]) if lm == "sums" else None,
            )
        if not pairs:
            return found
        pictures, queries = seen.vision_outputs.last_hidden_state, seen.qformer_outputs.last_hidden_state
        text = self.text_states(model, heads, inputs, texts)
        return found._replace(image=queries, text=text, memory=Memory(pictures))

    def freeze_writer(self, model: nn.Module) -> None:
        """Freeze the language model and what leads to it; see `bodies.Body`."""
        inner = base_model(model)
        inner.language_model.requires_grad_(False)
        inner.language_projection.requires_grad_(False)

    def text_states(
        self, model: nn.Module, heads: MatchingHeads, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return states (N, H) of texts; see `bodies.Body`."""
        ids, mask = (texts[name][:, : heads.places] for name in self.travels)
        qformer = base_model(model).qformer
        return qformer(query_embeds=heads.embeddings(ids), query_length=0, attention_mask=mask).last_hidden_state[:, 0]

    def remember(self, model: nn.Module, inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> Memory:
        """Return what `match` needs; see `bodies.Body`."""
        return Memory(base_model(model).vision_model(inputs["pixel_values"]).last_hidden_state)

    def match(
        self,
        model: nn.Module,
        heads: MatchingHeads,
        memory: Memory,
        images: Sequence[int],
        texts: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Return states (K, Q, H) of the queries beside their texts; see `bodies.Body`."""
        inner = base_model(model)
        ids = nn.utils.rnn.pad_sequence([text[: heads.places] for text in texts], batch_first=True)
        lengths = torch.tensor([min(len(text), heads.places) for text in texts], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (K, S)
        queries = inner.query_tokens.expand(len(texts), -1, -1)
        count = queries.shape[1]
        pictures = memory.pictures[torch.tensor(images, device=ids.device)]
        read = inner.qformer(
            query_embeds=heads.embeddings(ids, query_embeds=queries),
            query_length=count,
            attention_mask=torch.cat([mask.new_ones(len(texts), count), mask], 1).long(),
            encoder_hidden_states=pictures,
        )
        return read.last_hidden_state[:, :count]
