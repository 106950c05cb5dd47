"""Writing a group for each prompt: how it is proved, and how much of it is written at once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ..interface import Prompt, Sampling
from . import budget
from .answers import AnswerScorer
from .batching import batches
from .budget import Piece, Writing
from .decoding import Generated, decode_plain, decode_shared
from .encoding import collate, representative_prompts
from .proof import PASSING_ERRORS, Proof, disagreement
from .sampling import TokenSampler, draw_uniforms
from .scoring import base_model, computes_in_half


if TYPE_CHECKING:
    from .weights import LoadedModel

logger = logging.get_logger("llamafactory.hind.engines.local.writer")
PREFILL_TOKENS = 16_384  # [ours] of prompts that are prefilled in one pass; their caches are joined
OUT_OF_MEMORY = (
    "The GPU is full while completions are written, also with half as many at once ({tokens} tokens in flight). Set "
    "`rollout_tokens` lower, or `max_new_tokens`, `cutoff_len` or the size of pictures."
)


class Writer:
    """Writes with a model that is ready: in eval mode, without gradient, its adapters chosen.

    Args:
        loaded: model, tokenizer, processor and template.
        answers: scores whole rows with the same model, for the proof.
        stop_ids: tokens that end a completion.
        banned_ids: tokens that are never written.
        gives_logps: False leaves log-probs out.
        collate_prompts: makes left-padded inputs of prompts.
        tokens: in flight at most; None is what the free memory of a GPU holds, and no limit elsewhere.

    Attributes:
        proof: what shared prompts were compared on.
        cascade: the cache of a prompt is kept once for its group.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        answers: AnswerScorer,
        *,
        stop_ids: Sequence[int],
        banned_ids: Sequence[int],
        gives_logps: bool,
        collate_prompts: Callable[[Sequence[Prompt]], dict[str, Any]],
        tokens: int | None = None,
    ) -> None:
        """Nothing is computed yet."""
        self.loaded, self.answers, self.tokens = loaded, answers, tokens
        self.stop_ids, self.banned_ids, self.gives_logps = stop_ids, banned_ids, gives_logps
        self.collate_prompts = collate_prompts
        self.proof, self.cascade = Proof(), True
        self._survived: int | None = None  # tokens in flight, after memory ran out with twice as many

    def write(
        self, prompts: Sequence[Prompt], keys: Sequence[str], sampling: Sampling, *, at_once: int
    ) -> Iterator[tuple[Piece, Generated]]:
        """Yield what was written, piece by piece; pieces of one prompt come in the order of its completions.

        Args:
            prompts: to be answered.
            keys: name the random numbers of each.
            sampling: how to write.
            at_once: prompts at a time, at most.

        Raises:
            torch.OutOfMemoryError: half a batch does not fit either; the note says what to change.
        """
        every = range(len(sampling.temperatures))
        whole = batches(range(len(prompts)), lambda place: prompts[place].length, lambda place: 1, at_once)
        for places in whole:
            rest = deque([Piece(tuple(places), every)])
            while rest:
                piece = rest.popleft()
                size = self._size(prompts, sampling)
                parts = list(size.fitting(piece, self._limit()))
                if len(parts) > 1:
                    rest.extendleft(reversed(parts))
                    continue
                written = self._write_or_halve(piece, prompts, keys, sampling, size, rest)
                if written is not None:
                    yield piece, written

    def _size(self, prompts: Sequence[Prompt], sampling: Sampling) -> Writing:
        repeated = self.proof.failed or not self.cascade
        return Writing([prompt.length for prompt in prompts], sampling.max_new_tokens, repeated)

    def _limit(self) -> int | None:
        free = budget.affordable_tokens(self.loaded.model) if self.tokens is None else None
        known = [limit for limit in (self.tokens, free, self._survived) if limit is not None]
        return min(known, default=None)

    def _write_or_halve(
        self,
        piece: Piece,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        size: Writing,
        rest: deque[Piece],
    ) -> Generated | None:
        """Return what a piece says; None where memory ran out and `rest` begins with its halves.

        Numbers are drawn for each completion by itself, so halves say what the piece would have said.
        """
        tokens, failed = size.tokens(piece), None
        try:
            budget.before_writing(tokens)
            some = [prompts[place] for place in piece.places]
            return self._proved_write(some, [keys[place] for place in piece.places], sampling, piece.numbers)
        except torch.OutOfMemoryError as error:
            if len(piece.halves()) == 1 or (self._survived is not None and tokens <= self._survived):
                error.add_note(OUT_OF_MEMORY.format(tokens=tokens))
                raise
            failed = str(error).split(". ")[0]
        # Outside of the handler: its traceback would keep the caches.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        halves = piece.halves()
        self._survived = max(map(size.tokens, halves))
        logger.warning_rank0(
            f"Memory ran out while {tokens} tokens were in flight ({failed}); from here on at most {self._survived}. "
            "The completions stay the same. `rollout_tokens` says so from the start."
        )
        rest.extendleft(reversed(halves))
        return None

    def _proved_write(self, prompts: list[Prompt], keys: list[str], sampling: Sampling, numbers: range) -> Generated:
        """Write a batch, the prompts computed once where that is proved; a longer prompt, or another kind, is proved again.

        The proof costs no writing of its own: the log-probs that writing gave are compared with one pass over the texts.
        """
        proof = self.proof
        if not proof.failed and not proof.covers(prompts, sampling.max_new_tokens):
            written = self._try_shared_prefill(prompts, keys, sampling, numbers)
            if written is not None:
                if not proof.kinds:
                    logger.info_rank0("Shared prefill: each prompt is computed once for all its completions (proved).")
                proof.add(prompts, sampling.max_new_tokens)
                return written
            proof.failed = True
        return self._write(
            prompts, keys, sampling, numbers, shared_prefill=not proof.failed, gives_logps=self.gives_logps
        )

    def _try_shared_prefill(
        self, prompts: list[Prompt], keys: list[str], sampling: Sampling, numbers: range
    ) -> Generated | None:
        """Return what is written behind shared prompts, None if its log-probs are not those of whole rows."""
        if self.cascade:
            written, reason = self._try_writing(prompts, keys, sampling, numbers)
            if written is not None:
                return written
            self.cascade = False
            logger.info_rank0(f"The cache of a prompt is repeated for its completions, because {reason}.")
        written, reason = self._try_writing(prompts, keys, sampling, numbers)
        if written is None:
            logger.warning_rank0(f"Shared prefill is off, every row computes its own prompt, because {reason}.")
        return written

    def _try_writing(
        self, prompts: list[Prompt], keys: list[str], sampling: Sampling, numbers: range
    ) -> tuple[Generated | None, str | None]:
        """Return what is written behind shared prompts, or why it is not what whole rows would be."""
        rows: list[int] = []
        try:
            written = self._write(prompts, keys, sampling, numbers, shared_prefill=True, gives_logps=True)
        except torch.OutOfMemoryError:
            raise  # says nothing about the way it is computed
        except PASSING_ERRORS as error:
            return None, f"{type(error).__name__}: {error}"
        repeats = len(numbers)
        lengths = written.lengths.tolist()
        for number in representative_prompts(prompts):
            own = range(number * repeats, (number + 1) * repeats)
            rows += sorted(own, key=lambda row: -lengths[row])[:2]
        whole, noise = self.answers.whole_rows(
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

    def _write(
        self,
        prompts: list[Prompt],
        keys: list[str],
        sampling: Sampling,
        numbers: range,
        *,
        shared_prefill: bool,
        gives_logps: bool,
    ) -> Generated:
        temperatures = [sampling.temperatures[number] for number in numbers]
        model = base_model(self.loaded.model)
        repeats = len(temperatures)
        sampler = TokenSampler(
            temperatures=torch.tensor(temperatures * len(prompts), device=model.device),
            uniforms=draw_uniforms(
                [f"{key}/{number - sampling.greedy_first}" for key in keys for number in numbers],
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
            inputs = [self.collate_prompts(some) for some in self._prefilled_together(prompts)]
            return decode_shared(model, inputs, repeats=repeats, cascade=self.cascade, **options)
        inputs, _ = collate(self.loaded, [prompt for prompt in prompts for _ in range(repeats)], padding_side="left")
        return decode_plain(model, inputs, pad_id=self.loaded.tokenizer.pad_token_id, **options)

    def _prefilled_together(self, prompts: list[Prompt]) -> Iterator[list[Prompt]]:
        """Yield prompts that go through the model in one pass; all of them where their caches cannot be joined."""
        some: list[Prompt] = []
        for prompt in prompts:
            longest = max([prompt, *some], key=lambda one: one.length).length
            if some and self.cascade and (len(some) + 1) * longest > PREFILL_TOKENS:
                yield some
                some = []
            some.append(prompt)
        yield some
