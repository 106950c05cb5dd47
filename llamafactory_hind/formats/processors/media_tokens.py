"""Media as a template's tokens: their ids, and a plugin that opens the media of a row once for all its texts."""

from collections.abc import Sequence
from typing import Any

from llamafactory.data.template import Template
from transformers import PreTrainedTokenizer

from ...regions.inline import has_inline
from ..media.fields import count_placeholders


Messages = Sequence[dict[str, str]]


def media_token_ids(template: Template, tokenizer: PreTrainedTokenizer) -> set[int]:
    """Return the ids that stand for images, videos and audios in prompts."""
    plugin = template.mm_plugin
    tokens = [token for token in (plugin.image_token, plugin.video_token, plugin.audio_token) if token]
    known: set[Any] = {tokenizer.convert_tokens_to_ids(token) for token in tokens}
    return known - {tokenizer.unk_token_id, None}


class OpenedOnce:
    """The host's plugin for several texts about the same media, which it would open for each of them.

    Args:
        plugin: the host's.
    """

    def __init__(self, plugin: Any) -> None:
        """Nothing is open yet."""
        self._plugin = plugin
        self._first: tuple[list[dict[str, str]], list[dict[str, str]]] | None = None

    def __getattr__(self, name: str) -> Any:
        """Everything but the texts is the plugin's own."""
        return getattr(self._plugin, name)

    def process_messages(self, messages: Messages, *media_and_processor: Any) -> list[dict[str, str]]:
        """Return what the plugin makes of the messages; media are the same at every call."""
        given = [dict(message) for message in messages]
        if self._first is not None:
            derived = derive(given, *self._first)
            if derived is not None:
                return derived
        expanded: list[dict[str, str]] = self._plugin.process_messages(messages, *media_and_processor)
        self._first = self._first or (given, [dict(message) for message in expanded])
        return expanded


def derive(messages: Messages, known: Messages, expanded: Messages) -> list[dict[str, str]] | None:
    """Return messages with their media expanded, from other messages that differ behind the media alone; None where it is not so.

    Args:
        messages: turns with placeholders.
        known: other turns.
        expanded: those with as many tokens a medium as the model sees of it.
    """
    if not len(messages) == len(known) == len(expanded):
        return None
    derived = []
    for message, other, whole in zip(messages, known, expanded, strict=True):
        text = _derive_text(message["content"], other["content"], whole["content"])
        if text is None:
            return None
        derived.append({**message, "content": text})
    return derived


def _derive_text(text: str, known: str, expanded: str) -> str | None:
    differing = (place for place, (one, other) in enumerate(zip(text, known, strict=False)) if one != other)
    head = next(differing, min(len(text), len(known)))
    tail, known_tail = text[head:], known[head:]
    if has_inline(tail):  # a region-aware plugin writes boxes in the model's terms
        return None
    if any(count_placeholders(tail).values()) or count_placeholders(known[:head]) != count_placeholders(known):
        return None
    if not expanded.endswith(known_tail):
        return None
    return expanded[: len(expanded) - len(known_tail)] + tail
