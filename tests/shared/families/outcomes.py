"""Three ways to share a prompt against rows that each have their own, through full logits."""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PreTrainedModel

from llamafactory_hind.engines.local.attention import why_not_cached, why_not_packed
from llamafactory_hind.engines.local.decoding import decode_shared
from llamafactory_hind.engines.local.proof import PASSING_ERRORS
from llamafactory_hind.engines.local.sampling import TokenSampler
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.scoring import GroupScorer

from .record import PAD, Family, build
from .rows import batch, collated


SURELY_WRONG = 1e-3  # of a token's log-prob: a rule of attention that the cascade does not know
STEPS = 14  # tokens that are written: prompt and answer pass every window
WAYS = ("cached", "packed", "written")


@dataclass(frozen=True)
class Outcome:
    """What a way does with a family.

    Attributes:
        error: largest difference of a token's log-prob to the rows of their own; None where the way is not taken.
        gradient: largest difference of a parameter's gradient, relative to the largest norm of any.
        reason: why it is not taken.
    """

    error: float | None
    gradient: float | None = None
    reason: str | None = None


class Ways:
    """A family's model, its batch, and its log-probs row by row."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.model = build(family)
        self.batch = batch(family)
        loaded: Any = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=PAD))
        self.scorer = GroupScorer(loaded, temperature=1.0, share_prefix="auto", collate_prompts=self.prompts)

    def prompts(self, prompts: Any) -> dict[str, Any]:
        rows = [(list(one.input_ids), one.request.images) for one in prompts]
        return collated(self.family, self.model, rows, side="left")

    def plain(self, tokens: torch.Tensor, mask: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
        """Return (R, S) log-probs: a padded row a completion, full logits, nothing shared."""
        prompts = [self.batch.prompts[owner] for owner in owners.tolist()]
        rows = [
            (list(one.input_ids) + tokens[row][mask[row]].tolist(), one.request.images)
            for row, one in enumerate(prompts)
        ]
        logits = self.model(**collated(self.family, self.model, rows, side="right"), use_cache=False).logits.float()
        found = []
        for row, one in enumerate(prompts):
            start, length = len(one.input_ids), int(mask[row].sum())
            logps = logits[row, start - 1 : start + length - 1].log_softmax(-1)
            logps = logps.gather(-1, tokens[row, :length, None])[:, 0]
            found.append(torch.nn.functional.pad(logps, (0, tokens.shape[1] - length)))
        return torch.stack(found)

    def rows(self) -> torch.Tensor:
        """Return `plain` of the batch."""
        return self.plain(self.batch.tokens, self.batch.mask, self.batch.owners)

    def gradients(self, logps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return gradients of a weighted sum."""
        self.model.zero_grad()
        weights = torch.linspace(-1, 2, logps.numel()).view_as(logps)
        (logps * weights * self.batch.mask).sum().backward()
        return {name: one.grad.clone() for name, one in self.model.named_parameters() if one.grad is not None}


@cache
def outcomes(family: Family) -> dict[str, Outcome]:
    """Return what each of `WAYS` does with a family."""
    ways = Ways(family)
    expected = ways.rows()
    slopes = ways.gradients(expected)
    found = {way: _scored(ways, way, expected.detach(), slopes) for way in ("cached", "packed")}
    return {**found, "written": _written(ways)}


def _scored(ways: Ways, way: str, expected: torch.Tensor, slopes: dict[str, torch.Tensor]) -> Outcome:
    reason = {"packed": why_not_packed, "cached": why_not_cached}[way](ways.model)
    if reason is not None:
        return Outcome(None, reason=reason)
    try:
        logps = getattr(ways.scorer, way)(ways.model, ways.batch)
    except PASSING_ERRORS as error:
        return Outcome(None, reason=_words(error))
    own = ways.gradients(logps)
    largest = max(float(one.norm()) for one in slopes.values())
    differences = [own.get(name, torch.zeros_like(slope)) - slope for name, slope in slopes.items()]
    gradient = max(float(one.norm()) for one in differences) / largest
    return Outcome(float((logps.detach() - expected).abs().max()), gradient)


def _written(ways: Ways) -> Outcome:
    """Write behind prompts that are kept once, or behind a repeated cache where that is not right, as the engine does."""
    once = _written_by(ways, cascade=True)
    return once if once.error is not None and once.error < SURELY_WRONG else _written_by(ways, cascade=False)


@torch.no_grad()
def _written_by(ways: Ways, *, cascade: bool) -> Outcome:
    """Write two completions a prompt with the prompt computed once; compare with one pass over each text."""
    model: PreTrainedModel = ways.model.eval()
    prompts = ways.batch.prompts[: 1 if ways.family.padding_counts else None]
    rows = 2 * len(prompts)
    uniforms = torch.rand(rows, STEPS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sampler = TokenSampler(temperatures=torch.ones(rows), uniforms=uniforms, banned=range(86, 96), top_k=0, top_p=1.0)
    options = {"sampler": sampler, "stop_ids": [7, 8], "max_new_tokens": STEPS, "cascade": cascade}
    try:
        written = decode_shared(model, ways.prompts(prompts), repeats=2, **options)
    except PASSING_ERRORS as error:
        return Outcome(None, reason=_words(error))
    mask = torch.arange(STEPS) < written.lengths[:, None]
    expected = ways.plain(written.tokens, mask, torch.arange(rows) // 2)
    model.train()
    return Outcome(float((written.logps - expected)[mask].abs().max()))


def _words(error: Exception) -> str:
    """Return a refusal as it is, an error of the library with its type, in one line without bars."""
    text = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return text.splitlines()[0].replace("|", "/")


def packed_error(ways: Ways) -> float:
    """Return how far packed log-probs are off, whatever mask they get."""
    found: RolloutBatch = ways.batch
    with torch.no_grad():
        return float((ways.scorer.packed(ways.model, found) - ways.rows()).abs().max())
