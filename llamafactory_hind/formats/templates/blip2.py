"""The template `blip2`: BLIP-2 (arXiv 2301.12597) through the host's loader, which has no template for it.

The prompt is that of `Blip2Processor`: as many image tokens as the Q-Former has queries, the begin token behind them, then text.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from llamafactory.data.formatter import StringFormatter
from llamafactory.data.mm_plugin import BasePlugin

from ..media.fields import PLACEHOLDERS


NAME = "blip2"
ANSWER = "{{content}} answer:"  # LSKD's student reads `question: {question} answer: {choice}`


@dataclass
class Blip2Plugin(BasePlugin):
    """Expands pictures for a `Blip2Processor`."""

    def process_messages(
        self,
        messages: Sequence[dict[str, str]],
        images: Sequence[Any],
        videos: Sequence[Any],
        audios: Sequence[Any],
        processor: Any,
    ) -> list[dict[str, str]]:
        """Return the messages with image tokens for each picture.

        Raises:
            ValueError: placeholders and media differ, or the processor is none of BLIP-2.
        """
        self._validate_input(processor, images, videos, audios)
        self._validate_messages(messages, images, videos, audios)
        count = getattr(processor, "num_query_tokens", None)
        if not count:
            raise ValueError(
                f"template {NAME}: got a {type(processor).__name__} without `num_query_tokens`, expected a `Blip2Processor` that "
                "knows them. Write the number of the model's config into its processor_config.json."
            )
        expanded = self.image_token * count + (processor.tokenizer.bos_token or "")
        made = deepcopy(list(messages))
        for message in made:
            message["content"] = message["content"].replace(PLACEHOLDERS["images"], expanded)
        return made


def register_blip2(templates: ModuleType, plugins: ModuleType) -> None:
    """Register the template and its plugin, where the host has none of the name.

    Args:
        templates: `llamafactory.data.template`.
        plugins: `llamafactory.data.mm_plugin`.
    """
    if NAME in templates.TEMPLATES:
        return
    if NAME not in plugins.PLUGINS:
        plugins.register_mm_plugin(NAME, Blip2Plugin)
    templates.register_template(
        name=NAME,
        format_user=StringFormatter(slots=[ANSWER]),
        format_assistant=StringFormatter(slots=[" {{content}}", {"eos_token"}]),
        mm_plugin=plugins.get_mm_plugin(name=NAME, image_token="<image>"),
    )
