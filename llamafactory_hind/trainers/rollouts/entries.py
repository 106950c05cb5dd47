"""Records of completions, flat and readable without the run: prompt, media, text, rewards, advantage, boxes, hints, all columns."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...formats.boxes import row_boxes
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.clip_names import is_clip, parse_clip
from ...storage.digests import split_drawing


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer

    from .records import Annotation, Rollout

TRAINING = "train"  # the split of completions that are learnt from, or could have been


class ReadsBoxes(Protocol):
    """`formats.templates.reading.BoxReader`, or none in its place."""

    def read(self, texts: Sequence[str], pictures: Sequence[Any], columns: Mapping[str, Any]) -> list[list[Any]]:
        """Return the boxes of each text."""


@dataclass(frozen=True)
class EntryMaker:
    """Makes records of completions.

    Attributes:
        tokenizer: for the prompt's text.
        process: number of this process.
        media_dir: names of media are relative to it; None leaves them as they are.
        boxes: reads boxes in completions; None reads none.
    """

    tokenizer: "PreTrainedTokenizer"
    process: int = 0
    media_dir: Path | None = None
    boxes: ReadsBoxes | None = None

    def of(self, annotation: "Annotation", *, kept: bool = True, first_group: int = 0) -> list[dict[str, Any]]:
        """Return a flat record a completion.

        Args:
            annotation: of groups.
            kept: whether they are learnt from.
            first_group: number of the first group.
        """
        scores = annotation.scores
        found = []
        for number, rollout in enumerate(annotation.rollouts):
            notes = annotation.notes[number] if number < len(annotation.notes) else {}
            hints = notes.get("hints")
            shared = {
                "process": self.process,
                "group": first_group + number,
                **self._prompt(rollout),
                "hints": None if not hints else _json(hints),
            }
            boxes = self._boxes(rollout)
            for sample, text in enumerate(rollout.texts):
                place = (number, sample)
                found.append(
                    {
                        **shared,
                        "sample": sample,
                        "source": rollout.sources[sample],
                        "kept": kept,
                        "completion": text,
                        "tokens": len(rollout.completion_ids[sample]),
                        "finish_reason": str(rollout.finish_reasons[sample]),
                        "reward": number_of(scores.total[place]),
                        **{f"reward/{name}": number_of(values[place]) for name, values in scores.each.items()},
                        "advantage": number_of(annotation.advantages[place]),
                        **{f"stream/{name}": number_of(values[place]) for name, values in annotation.streams.items()},
                        "extra": _json({name: values[number][sample] for name, values in scores.extra.items()}),
                        "boxes": _json(boxes[sample]) if boxes[sample] else None,
                    }
                )
        return found

    def _prompt(self, rollout: "Rollout") -> dict[str, Any]:
        names = {kind: [self._name(medium) for medium in rollout.feature.get(kind) or []] for kind in MEDIA_FIELDS}
        return {
            "row_id": rollout.row_id,
            "prompt": self.tokenizer.decode(rollout.feature["prompt_input_ids"], skip_special_tokens=True),
            "media": _json(names),
            "columns": rollout.feature.get("columns") or "{}",
            "conversation": rollout.feature.get("conversation"),
        }

    def _name(self, medium: Any) -> Any:
        if isinstance(medium, str):
            return medium if self.media_dir is None else relative_name(medium, self.media_dir)
        if isinstance(medium, list) and all(isinstance(frame, str) for frame in medium):
            return [self._name(frame) for frame in medium]  # the frames of a video
        return f"<{type(medium).__name__}>"

    def _boxes(self, rollout: "Rollout") -> list[list[Any]]:
        pictures = rollout.feature.get("images") or []
        of_row = row_boxes(rollout.columns, pictures)
        of_texts: list[list[Any]] = [[] for _ in rollout.texts]
        if self.boxes is not None and pictures:
            with suppress(Exception):  # they are for people who look: no odd column of a row may end a training
                of_texts = self.boxes.read(rollout.texts, pictures, rollout.columns)
        return [of_row + found for found in of_texts]


def relative_name(name: str, folder: Path) -> str:
    """Return the name of a medium relative to a folder, absolute where it lies elsewhere; what is drawn or cut out stays behind it."""
    path, drawing = split_drawing(name)
    behind = name[len(path) :] if drawing is not None else ""
    if is_clip(path):
        clip = parse_clip(path)
        path, behind = clip.source, clip.fragment + behind
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    return (os.path.relpath(whole, base) if whole.startswith(base + os.sep) else whole) + behind


def number_of(value: Any) -> float | None:
    """Return a number, None for NaN: no such reward."""
    number = float(value)
    return None if number != number else number


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
