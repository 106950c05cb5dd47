"""Scores of texts for their pictures under a trained matcher: what `pipeline: rank` ranks choices by."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from llamafactory.extras import logging

from ....formats.media.fields import MEDIA_FIELDS
from ....formats.processors.media_tokens import OpenedOnce
from ....losses.contrastive import similarities
from ...interface import Prompt, Request
from ..encoding import collate
from .chat import ChatBody
from .heads import MatchingHeads
from .model import Matcher
from .proof import why_not_shared
from .texts import TextSplitter, padded


if TYPE_CHECKING:
    from ..weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.local.matching.scorer")
Kind = Literal["itc", "itm"]


class MatchScorer:
    """Scores the texts of pictures, each picture computed once for a batch of its texts.

    Args:
        loaded: model, tokenizer, processor and template.
        heads: of the matcher.
        batch_size: pairs computed at a time.
        adapters: paths of the adapters that it was trained with.
    """

    def __init__(
        self, loaded: "LoadedModel", heads: MatchingHeads, *, batch_size: int, adapters: Sequence[str] = ()
    ) -> None:
        """Load adapters that are not there yet; compute nothing."""
        self.loaded, self.batch_size, self.adapters = loaded, batch_size, tuple(adapters)
        if self.adapters:
            loaded.add_adapters(self.adapters)
        device = next(loaded.model.parameters()).device
        self.matcher = Matcher(loaded.model, heads.to(device), smoothing=0.0).eval()
        self._splitter = TextSplitter(loaded.template, loaded.tokenizer)
        self._proved = False

    @torch.no_grad()
    def score(self, request: Request, texts: Sequence[str], kind: Kind) -> list[float]:
        """Score the texts of one request, higher is better.

        Args:
            request: a conversation whose first turn begins with its media.
            texts: assistant turns.
            kind: `itc`, the similarity of picture and text (-1 to 1); `itm`, the logit of a match minus that of none.
        """
        rows = self._rows(request, texts)
        with self.loaded.active(self.adapters):
            return self._contrast(request, rows) if kind == "itc" else self._match(request, rows)

    def _rows(self, request: Request, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text with the request before it, as `sft` makes them; media are opened once."""
        loaded = self.loaded
        template = copy.copy(loaded.template)
        template.mm_plugin = OpenedOnce(template.mm_plugin)
        media = [list(getattr(request, kind)) for kind in MEDIA_FIELDS]
        rows = []
        for text in texts:
            turns = [*request.messages, {"role": "assistant", "content": text}]
            messages = template.mm_plugin.process_messages(turns, *media, loaded.processor)
            first, last = template.encode_oneturn(loaded.tokenizer, messages, request.system)
            first, _ = template.mm_plugin.process_token_ids(first, None, *media, loaded.tokenizer, loaded.processor)
            end = [loaded.tokenizer.eos_token_id] if template.efficient_eos else []
            rows.append([*first, *last, *end])
        return rows

    def _read(self, request: Request, row: Sequence[int]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        inputs, _ = collate(self.loaded, [Prompt(list(row), [], request)], padding_side="right")
        keys = self._splitter.keys([row], inputs["attention_mask"].cpu())
        return inputs, {name: value.to(inputs["input_ids"].device) for name, value in keys.items()}

    def _contrast(self, request: Request, rows: Sequence[Sequence[int]]) -> list[float]:
        matcher = self.matcher
        inputs, texts = self._read(request, rows[0])
        reading = matcher.reader.read(matcher.body, matcher.heads, inputs, texts, lm=None, pairs=True)
        image = matcher.heads.image_features(reading.image)
        found: list[float] = []
        for start in range(0, len(rows), self.batch_size):
            ids, mask = padded([self._splitter.text(row) for row in rows[start : start + self.batch_size]])
            some = {"text_ids": ids.to(image.device), "text_mask": mask.to(image.device)}
            states = matcher.reader.text_states(matcher.body, matcher.heads, inputs, some)
            found += similarities(image, matcher.heads.text_features(states))[0].tolist()
        return found

    def _match(self, request: Request, rows: Sequence[Sequence[int]]) -> list[float]:
        matcher = self.matcher
        inputs, texts = self._read(request, rows[0])
        memory = matcher.reader.remember(matcher.body, inputs, texts)
        behind = self._splitter.tail if isinstance(matcher.reader, ChatBody) else self._splitter.text
        device = inputs["input_ids"].device
        own = [torch.tensor(behind(row), device=device) for row in rows]
        if not self._proved:
            self._prove(memory, own)
        found: list[float] = []
        for start in range(0, len(own), self.batch_size):
            some = own[start : start + self.batch_size]
            states = matcher.reader.match(matcher.body, matcher.heads, memory, [0] * len(some), some)
            logits = matcher.heads.match_logits(states)
            found += (logits[:, 1] - logits[:, 0]).tolist()
        return found

    def _prove(self, memory: Any, texts: Sequence[torch.Tensor]) -> None:
        """Let the texts of a picture share it, where that is proved equal on the first row."""
        self._proved = True
        reader = self.matcher.reader
        if not isinstance(reader, ChatBody):
            return
        some = [min(texts, key=len), max(texts, key=len)]
        reason = why_not_shared(self.matcher, memory, [0] * len(some), some)
        reader.packed = reason is None
        if reason is not None:
            logger.warning_rank0(f"Each choice computes its own picture, because {reason}.")
