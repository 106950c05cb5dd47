"""Builds the clips and rows: lessons for a teacher, questions for a student, held-out questions; and two untrained checkpoints."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...formats.prompts.files import own_file
from ..checkpoint import LARGER, write_checkpoint
from ..clips import write_mp4
from .questions import COUNTS, LAMPS, Question, bounce_questions, color_questions, listed, stop_questions
from .stories import FPS, PALETTE, SECONDS, SIDE, WINDOW, Story, bounce_story, colors_story, frames_of, stop_story


@dataclass(frozen=True)
class Size:
    """How many clips of each kind are written; a clip has one to three questions."""

    lessons: int
    train: int
    test: int


SIZES = {"small": Size(3, 3, 3), "base": Size(900, 900, 300)}
KINDS: tuple[tuple[Callable[..., Any], Callable[..., Iterator[Question]]], ...] = (
    (colors_story, color_questions),
    (bounce_story, bounce_questions),
    (stop_story, stop_questions),
)
# The prompt of a teacher in its lessons; `yaml_configs/toyworld/prompts/video_think.jinja` is the same for `synth`.
THINK = "{{ media }}{{ question }}\n{{ choices | lettered }}\nThink, then answer.\n"


def build(out: Path, *, seed: int, size: str) -> dict[str, int]:
    """Write the world; the same seed and size write the same bytes.

    Args:
        out: directory to write, made if missing.
        seed: any integer.
        size: `small` or `base`.

    Returns:
        Number of rows per file.

    Raises:
        ValueError: `size` is neither.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r} is unknown; expected one of {sorted(SIZES)}")
    for folder in ("clips", "rows", "prompts"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    files = {}
    for name in ("lessons", "train", "test"):
        rng = random.Random(f"video-{name}-{seed}")
        files[f"video_{name}"] = list(_rows(rng, out, name, getattr(SIZES[size], name)))
    for name, rows in files.items():
        _write_json(out / "rows" / f"{name}.json", rows)
    _write_json(out / "dataset_info.json", dataset_info())
    write = partial(write_checkpoint, texts=list(tokenizer_texts()), seed=seed, smallest_frame=SIDE)
    write(out / "tiny")
    write(out / "larger", size=LARGER)
    return {name: len(rows) for name, rows in files.items()}


def dataset_info() -> dict[str, dict[str, Any]]:
    """Return every dataset of the world, keyed by the name that `dataset:` takes."""

    def entry(name: str, **more: Any) -> dict[str, Any]:
        known = {"file_name": f"rows/video_{name}.json", "formatting": "video_reasoning", "answer_form": "text"}
        return known | more

    thinking = {"target": "reasoned_answer", "reasoned_answer_prompt": THINK}
    return {
        "video_lessons": entry("lessons", **thinking),
        "video_train": entry("train"),
        "video_test": entry("test"),
        "video_test_thinking": entry("test", **thinking),
    }


def _rows(rng: random.Random, out: Path, name: str, clips: int) -> Iterator[dict[str, Any]]:
    for number, (tell, ask) in zip(range(clips), itertools.cycle(KINDS), strict=False):
        story = tell(rng, WINDOW)
        start = rng.randint(0, SECONDS - WINDOW)
        path = f"clips/{name}_{number:04}.mp4"
        write_mp4(out / path, frames_of(_surrounded(rng, story, start)), fps=FPS)
        for question in ask(rng, story):
            yield _row(rng, question, f"{name}-{number:04}-{question.kind}", path, start)


def _surrounded(rng: random.Random, story: Story, start: int) -> Story:
    """Return the story of a whole file, in which the part that is asked about begins at `start`."""
    return [*colors_story(rng, start), *story, *colors_story(rng, SECONDS - WINDOW - start)]


def _row(rng: random.Random, question: Question, row_id: str, path: str, start: int) -> dict[str, Any]:
    return {
        "id": row_id,
        "videos": [path],
        "start": float(start),
        "end": float(start + WINDOW),
        "question": question.text,
        "choices": rng.sample(question.choices, len(question.choices)),
        "answer": question.answer,
        "type": question.kind,
        "reasoning": question.reasoning,
        "reasoning_correct": True,
    }


def tokenizer_texts() -> Iterator[str]:
    """Yield texts with every word of the world: what is asked, thought and answered, and the prompts themselves."""
    rng = random.Random("video-words")
    prompts = [own_file(name, "en").read_text(encoding="utf-8") for name in ("video_answer", "video_reasoning")]
    words = [
        word for text in [*prompts, THINK] for word in (text, *text.replace("{{", " ").replace("}}", " ").split())
    ]
    frames = ["system\n", "user\n", "assistant\n", "You are a helpful assistant.", "Answer: ", *words]
    for _ in range(30):
        yield from frames
        yield from (*PALETTE, *COUNTS, *LAMPS)
        yield listed([*PALETTE, *PALETTE])
        for tell, ask in KINDS:
            for question in ask(rng, tell(rng, WINDOW)):
                yield f"{question.text} Choices: (A) {question.answer} (B) (C) (D) {question.reasoning}\nAnswer: {question.answer}"


def _write_json(path: Path, content: list[Any] | dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
