"""The `hf` engine: batched writing and scoring with a model in this process, prompts token for token as in `sft`.

What holds for randomness: a row draws the same numbers in any batch and at any batch size; its tokens are then the same up to
rounding (padding changes logits in their last digits, which decides only where two tokens are that close).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from llamafactory.extras import logging

from ..interface import Capabilities, Completion, FinishReason, Prompt, Request, Sampling, Score
from ..seeds import random_keys
from ..usage import Usage
from .decoding import Generated, decode_plain, decode_shared, positions_of
from .encoding import collate, encode, media_token_ids, representative_prompts
from .prefixes import Group, group_by_prefix, shared_logprobs
from .proof import PASSING_ERRORS, Difference, disagreement, lengthened, why_not_equal
from .sampling import TokenSampler, draw_uniforms
from .scoring import (
    CHUNK_TOKENS,
    UnsupportedHead,
    base_model,
    check_head,
    computes_in_half,
    otherwise,
    plain_token_logprobs,
    token_logprobs,
)


if TYPE_CHECKING:
    from .weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.local.engine")
Item = TypeVar("Item")


@dataclass
class Proof:
    """What a faster way was compared on.

    Attributes:
        kinds: of prompts; see `Prompt.kind`.
        longest: tokens of a row.
        failed: it differs; it is not tried again.
    """

    kinds: set[tuple[bool, ...]] = field(default_factory=set)
    longest: int = 0
    failed: bool = False

    def covers(self, prompts: Sequence[Prompt], room: int = 0) -> bool:
        """Whether no prompt is of another kind, or longer with `room` for more tokens."""
        longest = max(prompt.length for prompt in prompts) + room
        return longest <= self.longest and self.kinds.issuperset(prompt.kind for prompt in prompts)

    def add(self, prompts: Sequence[Prompt], room: int = 0) -> None:
        """Note that the way was compared on prompts."""
        self.kinds.update(prompt.kind for prompt in prompts)
        self.longest = max(self.longest, max(prompt.length for prompt in prompts) + room)


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
        self._writing, self._scoring = Proof(), Proof()  # of prompts that are computed once
        self._cascade = True  # the cache of a prompt is kept once for its group
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
                written = self._proved_write(batch, [keys[place] for place in places], sampling)
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
        return self.score_prompts([self.encode(request, text) for request, text in zip(requests, texts, strict=True)])

    def score_prompts(self, prompts: Sequence[Prompt]) -> list[Score]:
        """Score the answers of prompts that are tokens already."""
        sums = [0.0] * len(prompts)
        groups, alone = group_by_prefix(
            [(prompt.input_ids, prompt.answer_ids) for prompt in prompts],
            [prompt.media for prompt in prompts],
            media_ids=self.banned_ids,
            largest=self.batch_size,
        )
        with self._ready():
            if groups and not self._scoring.failed and not self._scoring.covers(prompts):
                self._scoring.failed = not self._prove_shared(prompts, groups)
                self._scoring.add(prompts)
            if self._scoring.failed:
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
            inputs = self.collate_prompts(prompts)
            return decode_shared(model, inputs, repeats=repeats, cascade=self._cascade, **options)
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

    def _token_logprobs(self, prompts: list[Prompt], *, padding_side: str = "right") -> torch.Tensor:
        inputs, labels = collate(self.loaded, prompts, padding_side=padding_side)
        if padding_side == "left":
            inputs["position_ids"] = positions_of(inputs)  # models count padding where they are not told
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
        """Compare log-probs over a shared beginning with those of whole rows, on two rows of representative groups."""
        chosen = representative_prompts([prompts[group.places[0]] for group in groups])
        some = [Group(groups[number].places[:2], groups[number].length) for number in chosen]
        rows = [prompts[place] for group in some for place in group.places]
        whole, noise = self._whole_rows(rows)
        if not self._chunked:
            return False  # full logits were announced already
        starts = [
            len(prompts[place].input_ids) - group.length for group in some for place in group.places
        ]  # of each answer in its short row

        def shared() -> torch.Tensor:
            found = self._shared_logprobs(prompts, some)
            each = zip(found, starts, rows, strict=True)
            return torch.cat([logps[start : start + len(row.answer_ids)] for logps, start, row in each])

        reason = why_not_equal(shared, whole, noise, half=computes_in_half(self.loaded.model))
        return reason is None or self._refuse("Shared beginnings are off while scoring", reason)

    def _proved_write(self, prompts: list[Prompt], keys: list[str], sampling: Sampling) -> Generated:
        """Write a batch, the prompts computed once where that is proved; a longer prompt, or another kind, is proved again.

        The proof costs no writing of its own: the log-probs that writing gave are compared with one pass over the texts.
        """
        proof = self._writing
        if not proof.failed and not proof.covers(prompts, sampling.max_new_tokens):
            written = self._try_shared_prefill(prompts, keys, sampling)
            if written is not None:
                if not proof.kinds:
                    logger.info_rank0("Shared prefill: each prompt is computed once for all its completions (proved).")
                proof.add(prompts, sampling.max_new_tokens)
                return written
            proof.failed = True
        return self._write(prompts, keys, sampling, shared_prefill=not proof.failed, gives_logps=self.gives_logps)

    def _try_shared_prefill(self, prompts: list[Prompt], keys: list[str], sampling: Sampling) -> Generated | None:
        """Return what is written behind shared prompts, None if its log-probs are not those of whole rows."""
        if self._cascade:
            written, reason = self._try_writing(prompts, keys, sampling)
            if written is not None:
                return written
            self._cascade = False
            logger.info_rank0(f"The cache of a prompt is repeated for its completions, because {reason}.")
        written, reason = self._try_writing(prompts, keys, sampling)
        if written is None:
            self._refuse("Shared prefill is off", str(reason))
        return written

    def _try_writing(
        self, prompts: list[Prompt], keys: list[str], sampling: Sampling
    ) -> tuple[Generated | None, str | None]:
        """Return what is written behind shared prompts, or why it is not what whole rows would be."""
        rows: list[int] = []
        try:
            written = self._write(prompts, keys, sampling, shared_prefill=True, gives_logps=True)
        except torch.OutOfMemoryError:
            raise  # says nothing about the way it is computed
        except PASSING_ERRORS as error:
            return None, f"{type(error).__name__}: {error}"
        repeats = len(sampling.temperatures)
        lengths = written.lengths.tolist()
        for number in representative_prompts(prompts):
            own = range(number * repeats, (number + 1) * repeats)
            rows += sorted(own, key=lambda row: -lengths[row])[:2]
        whole, noise = self._whole_rows(
            [
                Prompt(
                    prompts[row // repeats].input_ids,
                    written.tokens[row, : lengths[row]].tolist(),
                    prompts[row // repeats].request,
                )
                for row in rows
            ]
        )
        found = torch.cat([written.logps[row, : lengths[row]] for row in rows])
        reason = disagreement(found, whole, noise, half=computes_in_half(self.loaded.model))
        return (written, None) if reason is None else (None, reason)

    def _whole_rows(self, rows: list[Prompt]) -> tuple[torch.Tensor, Difference]:
        """Return (M,) log-probs of the answers, each row with its own prompt, and what another padding changes in them."""
        parts, others = [], []
        for start in range(0, len(rows), 2):
            some = rows[start : start + 2]
            plain = self._token_logprobs(some)
            longest = max(some, key=lambda row: row.length)
            longer = replace(longest, answer_ids=lengthened(longest.answer_ids))
            try:
                with otherwise(self.loaded.model):
                    other = self._token_logprobs([*some, longer], padding_side="left")
            except torch.OutOfMemoryError:
                raise
            except PASSING_ERRORS:  # no padding on the left: no noise is known
                other = None
            for number, row in enumerate(some):
                part = plain[number, len(row.input_ids) : row.length]
                parts.append(part)
                others.append(part if other is None else other[number, other.shape[1] - len(row.answer_ids) :])
        whole = torch.cat(parts)
        return whole, Difference.of(torch.cat(others), whole)

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
