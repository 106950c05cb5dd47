"""Whether a faster way to compute log-probs gives the numbers of the plain one, measured against what rounding alone does.

Noise is the difference of two plain passes over the same texts that differ in padding, in the batch, and by one step of the
precision in what the embeddings give, so that every later rounding falls anew (kernels may round alike whatever the padding).
A faster way may differ from the plain one by a few times that, on average and at its worst token, and by no more than a fixed
cap: a wrong mask moves few tokens by much, which an average hides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..interface import Prompt


# What a model raises that does not take a cache, a mask or a position as we pass it; running out of memory is not among it.
PASSING_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, AssertionError)
TIMES_NOISE = 3.0  # [ours]
OTHER_PADDING = 13  # [ours] tokens: odd, so that no block of a kernel lines up as before
STEP = {False: 2**-23, True: 2**-8}  # [ours] relative, of float32 and bfloat16
NUDGED = 16  # [ours] one number of so many is moved: enough to re-draw all later roundings, little by itself
OTHER_SCALE = 1.37  # [ours] no power of two: numbers times it fall between other roundings


@dataclass(frozen=True)
class Difference:
    """How far two lists of log-probs are apart, in nats a token.

    Attributes:
        mean: on average.
        largest: at the worst token.
    """

    mean: float
    largest: float

    @classmethod
    def of(cls, found: torch.Tensor, expected: torch.Tensor) -> "Difference":
        """Compare log-probs of the same tokens, (M,) each."""
        difference = (found.detach().double() - expected.detach().double()).abs()
        return cls(difference.mean().item(), difference.max().item()) if len(difference) else cls(0.0, 0.0)


# [ours] Differences that count as none, and those that never do, whatever the noise. A logit between 2 and 4 is rounded to
# 2^-7 in bfloat16.
LEAST = {False: Difference(1e-4, 1e-4), True: Difference(2**-9, 2**-6)}
MOST = {False: Difference(1e-3, 1e-3), True: Difference(0.05, 1.0)}


def limit_of(noise: Difference, *, half: bool) -> Difference:
    """Return the largest difference that noise explains.

    Args:
        noise: of two plain passes.
        half: computed in half precision.
    """
    pairs = (
        (getattr(LEAST[half], name), TIMES_NOISE * getattr(noise, name), getattr(MOST[half], name))
        for name in ("mean", "largest")
    )
    return Difference(*(min(max(least, allowed), most) for least, allowed, most in pairs))


def disagreement(found: torch.Tensor, plain: torch.Tensor, noise: Difference, *, half: bool) -> str | None:
    """Return how far a faster way is from the plain one, None if noise explains it.

    Args:
        found: (M,) log-probs of tokens, the faster way.
        plain: (M,) of the same tokens.
        noise: of two plain passes.
        half: computed in half precision.
    """
    difference, limit = Difference.of(found, plain), limit_of(noise, half=half)
    if difference.mean <= limit.mean and difference.largest <= limit.largest:  # False for NaN
        return None
    return (
        f"log-probs differ from the plain path by up to {difference.largest:.2e}, {difference.mean:.2e} on average (rounding "
        f"explains {limit.largest:.2e} and {limit.mean:.2e})"
    )


def why_not_equal(
    compute: Callable[[], torch.Tensor], plain: torch.Tensor, noise: Difference, *, half: bool
) -> str | None:
    """Compute the faster way, and return why it cannot be taken: the model's code refuses it, or it disagrees.

    Raises:
        torch.OutOfMemoryError: says nothing about the way it is computed.
    """
    try:
        found = compute()
    except torch.OutOfMemoryError:
        raise
    except PASSING_ERRORS as error:
        return f"{type(error).__name__}: {error}"
    return disagreement(found, plain, noise, half=half)


def rounded_otherwise(logits: torch.Tensor) -> torch.Tensor:
    """Round logits once more, as another order of the same sums might have; float32 stays as it is."""
    if logits.dtype in (torch.float32, torch.float64):
        return logits
    return (logits.float() * OTHER_SCALE).to(logits.dtype).float() / OTHER_SCALE


@contextmanager
def nudged(embeddings: nn.Module, *, half: bool) -> Iterator[None]:
    """Move some of what the embeddings give by one step of the precision while the block runs.

    Args:
        embeddings: of the model's input.
        half: the model computes in half precision.
    """

    def nudge(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        moved = torch.arange(output.shape[-1], device=output.device) % NUDGED == 0  # (H,)
        return (output.float() * (1 + STEP[half] * moved)).to(output.dtype)

    handle = embeddings.register_forward_hook(nudge)
    try:
        yield
    finally:
        handle.remove()


def lengthened(ids: Sequence[int]) -> list[int]:
    """Return a longer text: beside it, other rows of a batch are padded otherwise."""
    return (list(ids) * (1 + OTHER_PADDING))[: len(ids) + OTHER_PADDING]


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
