"""The OpenAI chat protocol: requests as messages, replies as completions, complaints about parameters. Pure Python."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...formats.media.fields import PLACEHOLDERS, count_placeholders
from ...regions.inline import plain_boxes
from ..interface import Capabilities, Completion, FinishReason, Request
from .api_key import ApiKey
from .retrying import FailedAttempt, shorten


OPTIONAL = ("logprobs", "top_k", "seed", "n")  # a server that refuses one is asked without it
STOPS = {  # what servers call it -> why the text ends
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", None), FinishReason.STOP),
    "length": FinishReason.LENGTH,
}
# What such servers give; a video goes as sampled frames.
CAPABILITIES = Capabilities(texts=True, scores=False, images=True, videos=True, concurrent=True)
UNKNOWN = re.compile(
    r"(unknown|unrecogni[sz]ed|unsupported|not supported|unexpected|extra|additional)\W+(\w+\W+){0,3}"
    r"(param|arg|field|key|input|propert)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """A reply that could be read.

    Attributes:
        completions: the good ones.
        choices: how many there were.
        usage: tokens as the server counted them; None if it did not.
        failure: what is wrong when none is good.
    """

    completions: list[Completion]
    choices: int
    usage: dict[str, int] | None
    failure: FailedAttempt | None


def check_media(request: Request, where: str) -> None:
    """Refuse a request whose media such servers cannot take, or do not match its placeholders.

    Raises:
        ValueError: says where, what was found and what was expected.
    """
    found = dict.fromkeys(PLACEHOLDERS, 0)
    for message in request.messages:
        for kind, number in count_placeholders(message["content"]).items():
            found[kind] += number
    given = {kind: len(getattr(request, kind)) for kind in PLACEHOLDERS}
    if given["audios"] or found["audios"]:
        raise ValueError(f"{where}: got audios, expected images and videos alone: `engine: openai` sends no sound.")
    for kind, placeholder in PLACEHOLDERS.items():
        if given[kind] != found[kind]:
            raise ValueError(
                f"{where}: got {given[kind]} {kind} and {found[kind]} placeholders {placeholder} in the messages, "
                "expected as many of one as of the other. Correct the row."
            )


def build_messages(request: Request, urls: Mapping[str, Sequence[Sequence[str]]]) -> list[dict[str, Any]]:
    """Return the messages, each placeholder replaced, in place, by the URLs of its medium.

    Args:
        request: checked.
        urls: field of media -> the URLs of each of its media.
    """
    kinds = {PLACEHOLDERS[kind]: iter(media) for kind, media in urls.items()}
    messages: list[dict[str, Any]] = []
    if request.system is not None:
        messages.append({"role": "system", "content": request.system})
    for message in request.messages:
        content: Any = plain_boxes(message["content"])  # nobody knows the form of the model behind a server
        pieces = re.split("(" + "|".join(map(re.escape, kinds)) + ")", content)
        if len(pieces) > 1:
            content = []
            for piece in pieces:
                if piece in kinds:
                    content += [{"type": "image_url", "image_url": {"url": url}} for url in next(kinds[piece])]
                elif piece:
                    content.append({"type": "text", "text": piece})
        messages.append({"role": message["role"], "content": content})
    return messages


def read_reply(raw: bytes, key: ApiKey) -> Reply | FailedAttempt:
    """Return what a reply gives; a `FailedAttempt` if it makes no sense or has no good completion."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return FailedAttempt(f"the answer is no JSON: {type(error).__name__} in {len(raw)} bytes", unhealthy=True)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices:
        return FailedAttempt(f"the answer has no choices: {error_message(raw, key)}", unhealthy=True)
    found = [_read_choice(choice, key) for choice in choices]
    good = [choice for choice in found if isinstance(choice, Completion)]
    bad = [choice for choice in found if isinstance(choice, FailedAttempt)]
    return Reply(good, len(choices), _read_usage(reply.get("usage")), None if good else bad[0])


def error_message(raw: bytes, key: ApiKey) -> str:
    """Return what the text of an error says, shortened: OpenAI's `error.message`, FastAPI's `detail`, or as it is."""
    text = raw.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return shorten(key.redact(text)) or "(no text)"
    for name in ("error", "detail", "message"):
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    return shorten(key.redact(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)))


def refused_parameters(raw: bytes, sent: Mapping[str, Any]) -> list[str]:
    """Return which optional parameters an answer 400 or 422 complains about; none for any other complaint."""
    text = _complaint(raw)
    optional = [name for name in OPTIONAL if name in sent]
    if "max_tokens" in sent and "max_completion_tokens" in text:
        return ["max_tokens"]
    named = [name for name in optional if re.search(rf"(?<!\w){name}(?!\w)", text)]
    return named or (optional if UNKNOWN.search(text) else [])


def _complaint(raw: bytes) -> str:
    """Return what an error says without the request, which some servers repeat in it: that names every parameter."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")
    if not isinstance(content, dict):
        return str(content)
    if isinstance(content.get("detail"), list):  # FastAPI: places and messages
        entries = [entry for entry in content["detail"] if isinstance(entry, dict)]
        return "; ".join(f"{entry.get('loc')} {entry.get('msg')}" for entry in entries)
    error = content.get("error") or content
    return f"{error.get('param')} {error.get('message')}" if isinstance(error, dict) else str(error)


def _read_usage(usage: Any) -> dict[str, int] | None:
    names = ("prompt_tokens", "completion_tokens")
    if not isinstance(usage, dict) or not all(type(usage.get(name)) is int for name in names):
        return None
    return {name: usage[name] for name in names}


def _read_choice(choice: Any, key: ApiKey) -> Completion | FailedAttempt:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return FailedAttempt("the answer has a choice without a message", unhealthy=True)
    text, reason = message.get("content"), choice.get("finish_reason")
    if message.get("refusal"):
        return FailedAttempt(f"the model refused: {shorten(key.redact(str(message['refusal'])))}", retryable=False)
    if not isinstance(reason, str | None) or reason not in STOPS:
        shown = shorten(key.redact(repr(reason)))
        return FailedAttempt(f"the answer ended with finish_reason {shown}, expected stop or length", retryable=False)
    if text is None and STOPS[reason] is FinishReason.LENGTH:
        text = ""
    if not isinstance(text, str):
        return FailedAttempt(f"the answer has {type(text).__name__} where its text is expected", unhealthy=True)
    if not text.strip():
        hint = "; raise max_new_tokens: they were used up before the first word" * (
            STOPS[reason] is FinishReason.LENGTH
        )
        return FailedAttempt(f"the model wrote an empty text (finish_reason {reason}){hint}", resample=True)
    logprob, tokens = _read_logprobs(choice.get("logprobs"))
    return Completion(key.redact_written(text), (), logprob, STOPS[reason], tokens)


def _read_logprobs(logprobs: Any) -> tuple[float | None, int | None]:
    """Return sum and number of the tokens' log-probs; (None, None) unless every one is there."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None, None
    values: list[Any] = [entry.get("logprob") if isinstance(entry, dict) else None for entry in content]
    if not all(type(value) in (float, int) and math.isfinite(value) for value in values):
        return None, None
    return math.fsum(values), len(values)
