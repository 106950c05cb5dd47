"""Answers that the model in training writes at an evaluation, and how many of them are right."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from llamafactory.extras.constants import IGNORE_INDEX

from ...engines.interface import Prompt, Request, RolloutEngine, Sampling
from ...formats.fields import columns_of
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.atomic import write_text
from ..metrics import Averages
from ..row_guard import NOT_OF_A_ROW, RowGuard, stand_ins
from .collator import ANSWER, texts_of


if TYPE_CHECKING:
    from transformers import Trainer


# texts, and the columns of their rows -> 0..1 each, None where there is nothing to compare with
ScoreAnswers = Callable[[list[str], list[dict[str, Any]]], Sequence[float | None]]
FOLDER = "evaluation_answers"


class AnswerCheck:
    """Writes a greedy answer to the answer task of every row, and scores it.

    Args:
        engine: writes with the model in training.
        score: says how right texts are.
        max_new_tokens: length at which an answer is cut.

    Attributes:
        guard: names rows that cannot be read, or leaves them out; None lets their errors through.
    """

    guard: RowGuard | None = None

    def __init__(self, engine: RolloutEngine, score: ScoreAnswers, *, max_new_tokens: int) -> None:
        """Nothing is written yet."""
        self.engine, self.score = engine, score
        self.sampling = Sampling(
            n=0, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=max_new_tokens, seed=0, greedy_first=True
        )

    def check(self, trainer: "Trainer", dataset: Any, *, name: str) -> dict[str, float]:
        """Return `accuracy/answer` over the rows of a set, and keep what was written in the output folder.

        Args:
            trainer: gives processes, the step and the folder.
            dataset: processed rows, the same on every process.
            name: of the set, for the file.
        """
        accelerator = trainer.accelerator
        rows = range(accelerator.process_index, len(dataset), accelerator.num_processes)
        found = self._written({row: dataset[row] for row in rows})
        averages = Averages()
        values = [float("nan") if one["score"] is None else float(one["score"]) for one in found]
        averages.add_values("accuracy/answer", torch.tensor(values, dtype=torch.float64))
        everyone = gather_object(found) if accelerator.num_processes > 1 else found
        if trainer.is_world_process_zero():
            file = Path(trainer.args.output_dir) / FOLDER / f"{name}-{trainer.state.global_step}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(one, ensure_ascii=False) for one in sorted(everyone, key=lambda one: one["row"])]
            write_text(file, "\n".join(lines) + "\n")
        return averages.take(accelerator)

    def _written(self, rows: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return number of the row, id, text and score of each row that has an answer task."""
        prompts = {row: prompt for row, feature in rows.items() if (prompt := answer_prompt(feature)) is not None}
        if not prompts:
            return []
        columns = [columns_of(rows[row]) for row in prompts]
        try:
            texts = self._texts(prompts)
        except NOT_OF_A_ROW:
            raise
        except Exception as error:
            if self.guard is None:
                raise
            return self._written(self._readable(rows, error))
        scores = self.score(texts, columns)
        return [
            {"row": row, "id": known.get("id"), "predict": text, "label": known.get("answer"), "score": score}
            for row, known, text, score in zip(prompts, columns, texts, scores, strict=True)
        ]

    def _texts(self, prompts: Mapping[int, Prompt]) -> list[str]:
        keys = [str(row) for row in prompts]
        return [group[0].text for group in self.engine.generate_prompts(list(prompts.values()), keys, self.sampling)]

    def _readable(self, rows: Mapping[int, Mapping[str, Any]], error: Exception) -> dict[int, Mapping[str, Any]]:
        """Leave out the rows that cannot be read: the guard names and lists them, or stops the run."""
        assert self.guard is not None
        good = self.guard.replace(list(rows.values()), error)
        bad = set(stand_ins(good))
        return {row: feature for place, (row, feature) in enumerate(rows.items()) if place not in bad}


def answer_prompt(feature: Mapping[str, Any]) -> Prompt | None:
    """Return the prompt of the answer task of a processed row, up to its last answer; None where it has none."""
    for text in texts_of(feature):
        if text.task == ANSWER:
            before = [place for place, label in enumerate(text.labels) if label == IGNORE_INDEX]
            media = {kind: list(feature.get(kind) or []) for kind in MEDIA_FIELDS}
            return Prompt(text.ids[: before[-1] + 1], [], Request((), **media))
    return None
