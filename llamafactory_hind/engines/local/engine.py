"""The `hf` engine: batched writing and scoring with a model in this process, prompts token for token as in `sft`.

What holds for randomness: a row draws the same numbers in any batch and at any batch size; its tokens are then the same up to
rounding (padding changes logits in their last digits, which decides only where two tokens are that close).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..interface import Capabilities, Completion, FinishReason, Prompt, Request, Sampling, Score
from ..seeds import random_keys
from ..usage import Usage
from .answers import AnswerScorer
from .decoding import Generated
from .encoding import collate, encode, media_token_ids
from .scoring import CHUNK_TOKENS, base_model
from .writer import Writer


if TYPE_CHECKING:
    from .weights import LoadedModel


class LocalEngine:
    """A model in this process.

    Args:
        loaded: model, tokenizer, processor and template; other engines may share them.
        batch_size: requests computed at a time (times completions a request while writing).
        adapters: paths of the adapters that speak, their sum; () is the bare model, None the model as it is (a policy in training).
        chunk_tokens: positions whose logits exist at one time while scoring.
        gives_logps: False leaves `Completion.logprob` out, which saves a pass over the vocabulary for every token written.
        collate_prompts: makes left-padded inputs of prompts that are to be answered, for callers that keep them.
        tokens: in flight at most while writing; see `Writer`.

    Attributes:
        answers: scores.
        writer: writes.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        *,
        batch_size: int,
        adapters: Sequence[str] | None = (),
        chunk_tokens: int = CHUNK_TOKENS,
        gives_logps: bool = True,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]] | None = None,
        tokens: int | None = None,
    ) -> None:
        """Load adapters that are not there yet; nothing else is computed."""
        self.loaded = loaded
        self.batch_size = batch_size
        self.adapters = None if adapters is None else tuple(adapters)
        self.usage = Usage()
        banned_ids = media_token_ids(loaded)
        self.answers = AnswerScorer(loaded, chunk_tokens=chunk_tokens, media_ids=banned_ids)
        self.writer = Writer(
            loaded,
            self.answers,
            stop_ids=sorted(loaded.template.get_stop_token_ids(loaded.tokenizer)),
            banned_ids=banned_ids,
            gives_logps=gives_logps,
            collate_prompts=collate_prompts or self._collate_prompts,
            tokens=tokens,
        )
        if self.adapters:
            loaded.add_adapters(self.adapters)

    @property
    def stop_ids(self) -> Sequence[int]:
        """Tokens that end a completion."""
        return self.writer.stop_ids

    @stop_ids.setter
    def stop_ids(self, ids: Sequence[int]) -> None:
        self.writer.stop_ids = ids

    @property
    def banned_ids(self) -> Sequence[int]:
        """Tokens that are never written."""
        return self.writer.banned_ids

    @banned_ids.setter
    def banned_ids(self, ids: Sequence[int]) -> None:
        self.writer.banned_ids = ids

    @property
    def capabilities(self) -> Capabilities:
        """What the model's template can take."""
        plugin = self.loaded.template.mm_plugin
        return Capabilities(
            texts=True,
            scores=True,
            images=plugin.image_token is not None,
            videos=plugin.video_token is not None,
            audios=plugin.audio_token is not None,
            distributions=True,
            token_ids=True,
            adapters=True,
            syncs=self.adapters is None,
        )

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write for every request, awaiting nothing; see `interface.Engine`.

        Raises:
            ValueError: a request's media and placeholders disagree, or the model takes no such media.
        """
        return self.generate_prompts([self.encode(request) for request in requests], random_keys(requests), sampling)

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        *,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Write for prompts that are tokens already, as `encode` makes them; see `interface.RolloutEngine`."""
        found: list[list[Completion]] = [[] for _ in prompts]
        with self._ready():
            for piece, written in self.writer.write(prompts, keys, sampling, at_once=self.batch_size):
                for place, completions in zip(
                    piece.places, self._completions(written, len(piece.places)), strict=True
                ):
                    found[place] += completions
                first = piece.places if piece.numbers.start == 0 else ()
                self.usage.add(
                    prompt_tokens=sum(prompts[place].length for place in first),
                    completion_tokens=int(written.lengths.sum()),
                )
                if on_generated is not None:
                    on_generated(len(written.lengths))
        return found

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request, awaiting nothing; see `interface.Engine`."""
        return self.score_prompts([self.encode(request, text) for request, text in zip(requests, texts, strict=True)])

    def score_prompts(self, prompts: Sequence[Prompt]) -> list[Score]:
        """Score the answers of prompts that are tokens already."""
        with self._ready():
            return self.answers.score(prompts, at_once=self.batch_size)

    def sync(self, model: torch.nn.Module) -> None:
        """Do nothing: this engine writes with the very weights that are trained.

        Raises:
            ValueError: it writes with another model, or with adapters of its own.
        """
        if self.adapters is not None or base_model(model) is not base_model(self.loaded.model):
            raise ValueError(
                f"sync: got a {type(base_model(model)).__name__} that this engine does not write with, expected the model it "
                "was opened with, as it is. Open the engine with the policy and `adapters=None`."
            )

    async def close(self) -> None:
        """Nothing is held open."""

    def encode(self, request: Request, answer: str | Sequence[int] | None = None) -> Prompt:
        """Turn a request into tokens; see `encoding.encode`."""
        return encode(self.loaded, request, answer)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        model = self.loaded.model
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), self.loaded.active(self.adapters):
                yield
        finally:
            model.train(training)

    def _collate_prompts(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        return collate(self.loaded, prompts, padding_side="left")[0]

    def _completions(self, written: Generated, prompts: int) -> list[list[Completion]]:
        tokens, logps = written.tokens.tolist(), written.logps.cpu().double()
        completions = []
        for row, length in enumerate(written.lengths.tolist()):
            ids = tuple(tokens[row][:length])
            stopped = ids[-1] in self.stop_ids
            text = self.loaded.tokenizer.decode(ids[: length - stopped], skip_special_tokens=True)
            logprob = logps[row, :length].sum().item() if self.writer.gives_logps else None
            completions.append(Completion(text, ids, logprob, FinishReason.STOP if stopped else FinishReason.LENGTH))
        repeats = len(completions) // prompts
        return [completions[start : start + repeats] for start in range(0, len(completions), repeats)]
