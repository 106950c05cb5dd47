"""What is sent to `/inference/v1/generate` of vLLM 0.32 and what its answer must be. Pure Python.

An answer is learnt from, so nothing in it is taken on trust: the prompt it was shown, how many completions, their ids, numbers and
the weights that wrote them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..interface import FinishReason


GENERATE = "/inference/v1/generate"
LEAST_VERSION = (0, 32)  # older servers lack `content_parts`, returned prompt ids or `weight_versions`
NEVER = -100.0  # the strongest `logit_bias`
NO_NUMBER = -9999.0  # what the server writes for -inf and NaN
ROUNDING = 1e-4  # [ours] a log-prob of 0 may be rounded to just above it


class WrongAnswer(Exception):
    """An answer that cannot be learnt from.

    Attributes:
        reason: for the message.
        retryable: the same request may be answered well the next time.
        stale: the server has other weights than those it was given; it needs them again first.
    """

    def __init__(self, reason: str, *, retryable: bool = True, stale: bool = False) -> None:
        """Keep the parts."""
        self.reason, self.retryable, self.stale = reason, retryable, stale
        super().__init__(reason)


@dataclass(frozen=True)
class Weights:
    """The weights that a server has.

    Attributes:
        model: name under which it serves them.
        version: label that a completion written with them carries; None where the name says it.
        salt: keeps its prefix cache apart from that of other weights.
    """

    model: str
    version: str | None
    salt: str


@dataclass(frozen=True)
class Asked:
    """One request: n completions of a prompt.

    Attributes:
        prompt_ids: as the trainer sees the prompt, a medium as many pads as the model sees of it.
        short_ids: the same with one pad a medium, which the server expands itself.
        parts: media in their order, `{"type": "image_url", "url": ...}`.
        n: completions.
        temperature: 0 is greedy.
        top_p: 1.0 is off.
        top_k: 0 is off.
        max_new_tokens: a completion is cut after so many.
        seed: of the first completion; vLLM counts up from it.
        stop_ids: a completion ends with one of them.
        banned_ids: ids that stand for media and are never written.
    """

    prompt_ids: Sequence[int]
    short_ids: Sequence[int]
    parts: Sequence[Mapping[str, Any]]
    n: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    seed: int
    stop_ids: Collection[int]
    banned_ids: Collection[int]

    def body(self, weights: Weights) -> dict[str, Any]:
        """Return the JSON of the request.

        `ignore_eos` with our own `stop_token_ids`: the checkpoint's generation config may name ids that the template does not.
        """
        sampling = {
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_tokens": self.max_new_tokens,
            "seed": self.seed,
            "logprobs": 0,
            "ignore_eos": True,
            "stop_token_ids": sorted(self.stop_ids),
            "logit_bias": {str(token): NEVER for token in sorted(self.banned_ids)},
            "detokenize": False,
        }
        body = {
            "model": weights.model,
            "token_ids": list(self.short_ids),
            "sampling_params": sampling,
            "return_token_ids": True,
            "cache_salt": weights.salt,
        }
        return {**body, "content_parts": list(self.parts)} if self.parts else body


@dataclass(frozen=True)
class Choice:
    """One completion of an answer.

    Attributes:
        token_ids: as sampled, stop token included.
        logps: of each, under the distribution it was drawn from.
        finish_reason: `LENGTH` when it was cut.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish_reason: FinishReason


def read_answer(answer: Any, asked: Asked, weights: Weights) -> list[Choice]:
    """Return the completions of an answer in their order.

    Raises:
        WrongAnswer: anything about it is not as it must be.
    """
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        shown = answer["prompt_token_ids"]
    except (KeyError, TypeError, AttributeError) as error:
        raise WrongAnswer(f"an answer without {error}: is it a vLLM server of version 0.32 or newer?") from None
    _check_prompt(shown, asked)
    if answer.get("model") not in (None, weights.model):
        raise WrongAnswer(f"an answer of {answer['model']!r}, expected {weights.model!r}", stale=True)
    if len(choices) != asked.n:
        raise WrongAnswer(f"{len(choices)} completions, expected {asked.n}")
    return [_read_choice(choice, asked, weights) for choice in choices]


def _check_prompt(shown: Any, asked: Asked) -> None:
    if shown == list(asked.prompt_ids):
        return
    count = len(shown) if isinstance(shown, list) else "no"
    raise WrongAnswer(
        f"the server saw a prompt of {count} tokens that is not ours of {len(asked.prompt_ids)}. Its tokenizer or its processor "
        "differs from the trainer's (limits of pictures in the checkpoint's processor config, another checkpoint), or it expands "
        "media in another way. Serve the very checkpoint that is trained, or set `rollout_engine: hf`",
        retryable=False,
    )


def _read_choice(choice: Any, asked: Asked, weights: Weights) -> Choice:
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise WrongAnswer(f"a completion that ended by {reason!r}, expected 'stop' or 'length'")
    ids = tuple(choice.get("token_ids") or ())
    entries = (choice.get("logprobs") or {}).get("content") or ()
    if not ids or len(ids) > asked.max_new_tokens or (reason == "stop") != (ids[-1] in asked.stop_ids):
        raise WrongAnswer(f"a completion of {len(ids)} tokens that ended by {reason!r} without sense")
    if [entry.get("token_id") for entry in entries] != list(ids):
        raise WrongAnswer(f"log-probs of {len(entries)} tokens that are not those of the {len(ids)} written")
    _check_weights(choice, len(ids), weights)
    banned = sorted(set(ids).intersection(asked.banned_ids))
    if banned:
        raise WrongAnswer(f"a completion with the ids {banned}, which stand for media", retryable=False)
    logps = tuple(entry.get("logprob") for entry in entries)
    wrong = [logp for logp in logps if not _is_logp(logp)]
    if wrong:
        raise WrongAnswer(f"a log-prob of {wrong[0]!r}, expected a number of at most 0")
    return Choice(ids, tuple(map(float, logps)), FinishReason(reason))


def _check_weights(choice: Mapping[str, Any], length: int, weights: Weights) -> None:
    """Every token must be of the weights that the server was given, where completions carry their label."""
    if weights.version is None:
        return
    spans = choice.get("weight_versions") or []
    versions = sorted({str(span.get("version")) for span in spans})
    covered = sum(span.get("end", 0) - span.get("start", 0) for span in spans)
    if versions != [weights.version] or covered != length:
        found = ", ".join(versions) or "none"
        raise WrongAnswer(f"a completion by the weights {found}, expected {weights.version}", stale=True)


def one_pad_each(ids: Sequence[int], pads: Collection[int]) -> tuple[list[int], int]:
    """Return token ids in which every run of a pad is one pad, and how many runs there are; the server expands each again."""
    short: list[int] = []
    runs = 0
    for token in ids:
        if token in pads and short and short[-1] == token:
            continue
        runs += token in pads
        short.append(token)
    return short, runs


def read_version(version: Any) -> tuple[int, int] | None:
    """Return the first two numbers of what `/version` answers, None for nonsense or a build without a number."""
    parts = str(version).split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return None


def _is_logp(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and NO_NUMBER < value <= ROUNDING
