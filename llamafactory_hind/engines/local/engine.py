"""The `hf` engine: batched writing and scoring with a model in this process, prompts token for token as in `sft`.

What holds for randomness: a row draws the same numbers in any batch and at any batch size; its tokens are then the same up to
rounding (padding changes logits in their last digits, which decides only where two tokens are that close).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from llamafactory.extras import logging

from ..interface import Capabilities, Completion, FinishReason, Prompt, Request, Sampling, Score
from ..seeds import random_keys
from ..usage import Usage
from .decoding import Generated, decode_plain, decode_shared
from .encoding import collate, encode, media_token_ids
from .prefixes import Group, group_by_prefix, shared_logprobs
from .sampling import TokenSampler, draw_uniforms
from .scoring import (
    CHUNK_TOKENS,
    UnsupportedHead,
    base_model,
    check_head,
    close_enough,
    plain_token_logprobs,
    token_logprobs,
)


if TYPE_CHECKING:
    from .weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.local.engine")
Item = TypeVar("Item")
# What a model raises that does not take a cache, a mask or a position as we pass it; running out of memory is not among it.
PASSING_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, AssertionError)
PROOF_TOKENS = 8  # [ours] a short completion shows a wrong mask or position as well as a long one


class LocalEngine:
    """A model in this process.

    Args:
        loaded: model, tokenizer, processor and template; other engines may share them.
        batch_size: requests computed at a time (times completions a request while writing).
        adapters: paths of the adapters that speak, their sum; () is the bare model, None the model as it is (a policy in training).
        chunk_tokens: positions whose logits exist at one time while scoring.
        gives_logps: False leaves `Completion.logprob` out, which saves a pass over the vocabulary for every token written.
        collate_prompts: makes left-padded inputs of prompts that are to be answered, for callers that keep them.
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
    ) -> None:
        """Load adapters that are not there yet; nothing else is computed."""
        self.loaded = loaded
        self.batch_size = batch_size
        self.adapters = None if adapters is None else tuple(adapters)
        self.chunk_tokens = chunk_tokens
        self.gives_logps = gives_logps
        self.collate_prompts = collate_prompts or self._collate_prompts
        self.banned_ids = media_token_ids(loaded)
        self.usage = Usage()
        self.stop_ids = sorted(loaded.template.get_stop_token_ids(loaded.tokenizer))
        self._shared_prefill: bool | None = None  # unknown until the first batch has been compared
        self._shared_prompts: bool | None = None
        self._chunked: bool | None = None
        if self.adapters:
            loaded.add_adapters(self.adapters)

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
            for places in batches(
                range(len(prompts)), lambda place: prompts[place].length, lambda place: 1, self.batch_size
            ):
                batch = [prompts[place] for place in places]
                if self._shared_prefill is None:
                    self._shared_prefill = self._prove_shared_prefill(batch)
                written = self._write(
                    batch,
                    [keys[place] for place in places],
                    sampling,
                    shared_prefill=self._shared_prefill,
                    gives_logps=self.gives_logps,
                )
                for place, completions in zip(places, self._completions(written, len(batch)), strict=True):
                    found[place] = completions
                self.usage.add(
                    prompt_tokens=sum(prompt.length for prompt in batch),
                    completion_tokens=int(written.lengths.sum()),
                )
                if on_generated is not None:
                    on_generated(len(written.lengths))
        return found

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request, awaiting nothing; see `interface.Engine`."""
        prompts = [self.encode(request, text) for request, text in zip(requests, texts, strict=True)]
        sums = [0.0] * len(prompts)
        groups, alone = group_by_prefix(
            [(prompt.input_ids, prompt.answer_ids) for prompt in prompts],
            [prompt.media for prompt in prompts],
            media_ids=self.banned_ids,
            largest=self.batch_size,
        )
        with self._ready():
            if groups and self._shared_prompts is None:
                self._shared_prompts = self._prove_shared(prompts, groups)
            if not self._shared_prompts:
                groups, alone = [], list(range(len(prompts)))
            for some in batches(groups, lambda group: group.length, lambda group: len(group.places), self.batch_size):
                places = [place for group in some for place in group.places]
                for place, logps in zip(places, self._shared_logprobs(prompts, some), strict=True):
                    sums[place] = logps.cpu().double().sum().item()
            for places in batches(alone, lambda place: prompts[place].length, lambda place: 1, self.batch_size):
                for place, logps in zip(
                    places, self._token_logprobs([prompts[place] for place in places]), strict=True
                ):
                    sums[place] = logps.cpu().double().sum().item()
        return [Score(value, len(prompt.answer_ids)) for value, prompt in zip(sums, prompts, strict=True)]

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

    def _write(
        self, prompts: list[Prompt], keys: list[str], sampling: Sampling, *, shared_prefill: bool, gives_logps: bool
    ) -> Generated:
        temperatures = sampling.temperatures
        model = base_model(self.loaded.model)
        repeats = len(temperatures)
        sampler = TokenSampler(
            temperatures=torch.tensor(temperatures * len(prompts), device=model.device),
            uniforms=draw_uniforms(
                [f"{key}/{number - sampling.greedy_first}" for key in keys for number in range(repeats)],
                sampling.max_new_tokens,
                seed=sampling.seed,
            ),
            banned=self.banned_ids,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            gives_logps=gives_logps,
        )
        options = {"sampler": sampler, "stop_ids": self.stop_ids, "max_new_tokens": sampling.max_new_tokens}
        if shared_prefill:
            return decode_shared(model, self.collate_prompts(prompts), repeats=repeats, **options)
        inputs, _ = collate(self.loaded, [prompt for prompt in prompts for _ in range(repeats)], padding_side="left")
        return decode_plain(model, inputs, pad_id=self.loaded.tokenizer.pad_token_id, **options)

    def _completions(self, written: Generated, prompts: int) -> list[list[Completion]]:
        tokens, logps = written.tokens.tolist(), written.logps.cpu().double()
        completions = []
        for row, length in enumerate(written.lengths.tolist()):
            ids = tuple(tokens[row][:length])
            stopped = ids[-1] in self.stop_ids
            text = self.loaded.tokenizer.decode(ids[: length - stopped], skip_special_tokens=True)
            logprob = logps[row, :length].sum().item() if self.gives_logps else None
            completions.append(Completion(text, ids, logprob, FinishReason.STOP if stopped else FinishReason.LENGTH))
        repeats = len(completions) // prompts
        return [completions[start : start + repeats] for start in range(0, len(completions), repeats)]

    def _token_logprobs(self, prompts: list[Prompt]) -> torch.Tensor:
        inputs, labels = collate(self.loaded, prompts, padding_side="right")
        if self._chunked is None:
            try:
                check_head(self.loaded.model, inputs, labels)
                self._chunked = True
            except UnsupportedHead as error:
                logger.warning_rank0(f"Scoring computes full logits, which takes more memory: {error}")
                self._chunked = False
        if self._chunked:
            return token_logprobs(self.loaded.model, inputs, labels, chunk_tokens=self.chunk_tokens)
        return plain_token_logprobs(self.loaded.model, inputs, labels)

    def _shared_logprobs(self, prompts: Sequence[Prompt], groups: Sequence[Group]) -> torch.Tensor:
        """Return (R, S) log-probs of the rows of `groups`, one group after the other."""
        beginnings, rows = [], []
        for number, group in enumerate(groups):
            first = prompts[group.places[0]]
            beginnings.append(Prompt(first.input_ids[: group.length], [], first.request))
            rows += [
                (number, prompts[place].input_ids[group.length :], prompts[place].answer_ids) for place in group.places
            ]
        inputs, _ = collate(self.loaded, beginnings, padding_side="left")
        score = partial(token_logprobs, self.loaded.model, chunk_tokens=self.chunk_tokens)
        pad_id = self.loaded.tokenizer.pad_token_id
        return shared_logprobs(base_model(self.loaded.model), inputs, rows, pad_id=pad_id, token_logprobs=score)

    def _prove_shared(self, prompts: Sequence[Prompt], groups: Sequence[Group]) -> bool:
        """Compare log-probs over a shared beginning with those of whole rows, on two rows of the first groups."""
        some = [Group(group.places[:2], group.length) for group in groups[:2]]
        rows = [prompts[place] for group in some for place in group.places]
        whole = self._token_logprobs(rows)
        if not self._chunked:
            return False  # full logits were announced already
        try:
            found = self._shared_logprobs(prompts, some)
        except torch.OutOfMemoryError:
            raise  # says nothing about the way it is computed
        except PASSING_ERRORS as error:
            return self._refuse("Shared beginnings are off while scoring", f"{type(error).__name__}: {error}")
        ends = [
            len(group_row.input_ids) - group.length
            for group in some
            for group_row in (prompts[p] for p in group.places)
        ]
        for number, (row, start) in enumerate(zip(rows, ends, strict=True)):
            mine = found[number, start : start + len(row.answer_ids)]
            expected = whole[number, len(row.input_ids) : row.length]
            if not close_enough(mine, expected, base_model(self.loaded.model).dtype):
                reason = f"log-probs differ by up to {(mine - expected).abs().max():.2e}"
                return self._refuse("Shared beginnings are off while scoring", reason)
        return True

    def _prove_shared_prefill(self, prompts: list[Prompt]) -> bool:
        """Compare log-probs from the repeated cache with those of one pass over the whole text, on the first batch."""
        prompts = prompts[:4]
        sampling = Sampling(n=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=PROOF_TOKENS, seed=0)
        try:
            written = self._write(
                prompts,
                [str(number) for number in range(len(prompts))],
                sampling,
                shared_prefill=True,
                gives_logps=True,
            )
        except torch.OutOfMemoryError:
            raise  # says nothing about the way it is computed
        except PASSING_ERRORS as error:
            return self._refuse("Shared prefill is off", f"{type(error).__name__}: {error}")
        twice = [prompt for prompt in prompts for _ in range(2)]
        tokens, lengths = written.tokens.tolist(), written.lengths.tolist()
        whole = [
            Prompt(prompt.input_ids, ids[:length], prompt.request)
            for prompt, ids, length in zip(twice, tokens, lengths, strict=True)
        ]
        logps = self._token_logprobs(whole).cpu()
        for row, (prompt, length) in enumerate(zip(whole, lengths, strict=True)):
            start = len(prompt.input_ids)
            expected, found = logps[row, start : start + length], written.logps[row, :length].cpu()
            if not close_enough(found, expected, base_model(self.loaded.model).dtype):
                reason = f"log-probs differ by up to {(found - expected).abs().max():.2e}"
                return self._refuse("Shared prefill is off", reason)
        logger.info_rank0(
            f"Shared prefill: each prompt is computed once for all its completions (proved on {len(whole)})."
        )
        return True

    def _refuse(self, what: str, reason: str) -> bool:
        logger.warning_rank0(f"{what}, every row computes its own prompt, because {reason}.")
        return False


def batches(
    items: Iterable[Item], length: Callable[[Item], int], rows: Callable[[Item], int], most: int
) -> Iterator[list[Item]]:
    """Yield lists of items with at most `most` rows together, neighbours of like length: little padding.

    Items that fit into one list keep their order.
    """
    items = list(items)
    if items and sum(map(rows, items)) <= most:
        yield items
        return
    batch: list[Item] = []
    for item in sorted(items, key=length):
        if batch and sum(map(rows, batch)) + rows(item) > most:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
