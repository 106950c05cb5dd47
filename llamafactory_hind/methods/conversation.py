"""The turns and media of a row, from its processed features."""

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from ..trainers.rollouts.records import Rollout


class Media(TypedDict):
    """What placeholders of a prompt stand for, in their order."""

    images: list[Any]
    videos: list[Any]
    audios: list[Any]


def conversation_of(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return `system`, `tools` and `turns` of a processed row, and `columns` where some hold boxes: in pixels of the picture.

    Raises:
        ValueError: the row was processed without them.
    """
    if not feature.get("conversation"):
        raise ValueError(
            f"row {feature.get('row_id')}: got no feature `conversation`, expected the row's turns: hints are asked for in words. "
            "Process rows with `formats.processors.prompts.PromptProcessor`."
        )
    found: dict[str, Any] = json.loads(feature["conversation"])
    return found


def media_of(rollout: Rollout) -> Media:
    """Return the media of a prompt, the very objects that it was written with."""
    request = rollout.prompt.request
    return Media(images=list(request.images), videos=list(request.videos), audios=list(request.audios))
