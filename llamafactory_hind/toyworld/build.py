"""Builds the whole world in a directory: media, rows, ``dataset_info.json``, ``kb.json`` and the untrained checkpoint."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import LARGER, write_checkpoint
from .clips import random_clip, video_rows, write_mp4
from .corpus import Corpus
from .counting import clip_rows, color_rows, start_rows
from .datasets import dataset_info
from .facts import KnowledgeBase
from .pointing import pointing_rows
from .questions import hindsight_row
from .scenes import STANDARD, STYLES, draw
from .styles import student_rows, styles_rows, teacher_rows
from .transformations import counting_row, region_row, transform, transformation_row
from .vocabulary import tokenizer_texts


@dataclass(frozen=True)
class Size:
    """How many rows of each kind are written."""

    see: int  # scenes of one thing
    count: int  # scenes of one to four things, counted
    know: int  # scenes of one creature, asked what one must know
    text: int  # conversations without an image
    test: int  # held-out scenes, visual and reading each, one question a row
    hindsight_train: int
    hindsight_test: int
    clips: int
    later: int  # counting, transformation and region rows each
    styles_train: int  # prompts in the standard style
    styles_test: int  # prompts of each style, held out
    student: int  # lessons before `gated_distill`
    teacher: int
    color_train: int  # things of one color counted
    color_test: int
    color_start: int  # lessons before `external_grpo`
    region_train: int  # scenes with two things that look alike
    region_test: int


BATCH = 32  # of `yaml_configs/toyworld/0_base.yaml`, which takes rows in their order
WINDOW = 2 * BATCH

SIZES = {
    "small": Size(
        see=12,
        count=12,
        know=12,
        text=6,
        test=12,
        hindsight_train=36,
        hindsight_test=12,
        clips=3,
        later=4,
        styles_train=36,
        styles_test=36,
        student=12,
        teacher=12,
        color_train=6,
        color_test=6,
        color_start=6,
        region_train=8,
        region_test=4,
    ),
    "base": Size(
        see=3600,
        count=4400,
        know=10000,
        text=4000,
        test=600,
        hindsight_train=720,
        hindsight_test=216,
        clips=48,
        later=200,
        styles_train=432,
        styles_test=108,
        student=3200,
        teacher=8000,
        color_train=2400,
        color_test=240,
        color_start=960,
        region_train=2400,
        region_test=240,
    ),
}


def build(out: Path, *, seed: int, size: str, only_styles: bool = False) -> dict[str, int]:
    """Write the world; the same seed and size write the same bytes.

    Args:
        out: directory to write, made if missing; files of an earlier build are overwritten, other datasets stay registered.
        seed: any integer; another seed gives other creatures, facts and scenes.
        size: ``small`` (a handful of everything, for tests) or ``base``.
        only_styles: write what `gated_distill` and the counting of colors need and nothing else, for a world of this seed that was built before it.

    Returns:
        Number of rows per file.

    Raises:
        ValueError: if ``size`` is neither ``small`` nor ``base``.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r} is unknown; expected one of {sorted(SIZES)}")
    counts = SIZES[size]
    knowledge = KnowledgeBase(seed)
    for folder in ("images", "clips", "rows"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    # one random stream a file: a change in one file's recipe leaves the others as they were
    def corpus(name: str) -> Corpus:
        return Corpus(out, knowledge, random.Random(f"{name}-{seed}"))

    # the tokenizer must not depend on the size, or rows of one size would not suit the checkpoint of another
    files = {} if only_styles else _first_files(out, corpus, counts, seed)
    if not only_styles:
        _write_json(out / "kb.json", {"seed": seed} | knowledge.to_json())
        write_checkpoint(out / "tiny", tokenizer_texts(), seed)
    files |= _style_rows(corpus, counts)
    write_checkpoint(out / "larger", tokenizer_texts(), seed, LARGER)
    files |= _counting_rows(corpus, counts)
    for name in ("region_train", "region_test"):
        files[name] = pointing_rows(corpus(name), name, getattr(counts, name))
    clips = files.get("video_reasoning") or json.loads((out / "rows" / "video_reasoning.json").read_text())
    files["video_counting"] = clip_rows(clips)
    for name, rows in files.items():
        _write_json(out / "rows" / f"{name}.json", rows)
    info = out / "dataset_info.json"
    registered = json.loads(info.read_text(encoding="utf-8")) if info.exists() else {}
    _write_json(info, registered | dataset_info())
    return {name: len(rows) for name, rows in files.items()}


def _first_files(out: Path, corpus: Callable[[str], Corpus], counts: Size, seed: int) -> dict[str, list[dict]]:
    """Everything but the rendering styles."""
    return {
        **_base_rows(corpus, counts),
        **_test_rows(corpus, counts.test),
        "hindsight_train": _hindsight_rows(
            corpus("hindsight_train"), "hindsight_train", counts.hindsight_train, asked=[True]
        ),
        "hindsight_test": _hindsight_rows(
            corpus("hindsight_test"), "hindsight_test", counts.hindsight_test, asked=[True, False]
        ),
        "video_reasoning": _video_rows(random.Random(f"clips-{seed}"), out, counts.clips),
        **_later_rows(corpus("later"), counts.later),
    }


def _base_rows(corpus, counts: Size) -> dict[str, list[dict]]:
    """The curriculum: one thing; then one thing and counting; then knowledge, with seeing kept up."""
    see, know = corpus("base_see"), corpus("base_know")
    first = [see.see_row(f"see_{n:04}", turns=3) for n in range(counts.see // 2)]
    then = [see.see_row(f"see_{n:04}", turns=see.rng.randint(1, 2)) for n in range(counts.see // 2, counts.see)]
    then += [see.count_row(f"count_{n:04}") for n in range(counts.count // 2)]
    then += [know.text_row(turns=3) for _ in range(counts.text // 2)]
    see.rng.shuffle(then)
    knows = [know.know_row(f"know_{n:04}", turns=know.rng.randint(1, 3)) for n in range(counts.know)]
    knows += [see.see_row(f"know_see_{n:04}", turns=3) for n in range(counts.know // 5)]
    knows += [see.count_row(f"know_count_{n:04}") for n in range(counts.count // 2)]
    knows += [know.text_row(turns=3) for _ in range(counts.text // 2)]
    know.rng.shuffle(knows)
    return {"base_see": first + then, "base_know": _batched(knows, know.rng)}


def _batched(rows: list[dict], rng: random.Random) -> list[dict]:
    """Part every two batches into short and long rows: much of a batch would be padding else, and kinds stay mixed."""
    batches = []
    for start in range(0, len(rows), WINDOW):
        window = sorted(
            rows[start : start + WINDOW], key=lambda row: sum(len(turn["content"]) for turn in row["messages"])
        )
        some = [window[place : place + BATCH] for place in range(0, len(window), BATCH)]
        rng.shuffle(some)
        batches += some
    return [row for batch in batches for row in batch]


def _test_rows(corpus, count: int) -> dict[str, list[dict]]:
    """Held-out scenes, one question a row."""
    see, read = corpus("see_test"), corpus("read_test")
    names = [f"see_test_{n:04}" for n in range(count)]
    return {
        "see_test": [see.see_row(name, 1) if n % 4 else see.count_row(name) for n, name in enumerate(names)],
        "read_test": [read.know_row(f"read_test_{n:04}", turns=1) for n in range(count // 2)],
    }


def _hindsight_rows(corpus: Corpus, name: str, count: int, *, asked: list[bool]) -> list[dict]:
    """Knowledge questions, every fact equally often, one creature a scene; training asks for half of the facts."""
    facts = [fact for fact in corpus.knowledge.facts.values() if fact.asked in asked]
    creatures = {creature.name: creature for creature in corpus.knowledge.creatures}
    rows = []
    for number, fact in zip(range(count), itertools.cycle(facts)):
        row_id = f"{name}_{number:04}"
        things, image = corpus.scene(row_id, 1, first=creatures[fact.creature])
        told = corpus.telling(fact)
        rows.append(
            hindsight_row(corpus.rng, corpus.knowledge, things[0], fact, row_id=row_id, image=image, told=told)
        )
    corpus.rng.shuffle(rows)
    return rows


def _video_rows(rng: random.Random, out: Path, count: int) -> list[dict]:
    rows = []
    for number in range(count):
        clip, path = random_clip(rng), f"clips/clip_{number:03}.mp4"
        write_mp4(out / path, clip.frames)
        rows += video_rows(rng, clip, path, number)
    return rows


def _later_rows(corpus: Corpus, count: int) -> dict[str, list[dict]]:
    rows = {"counting": [], "transformation": [], "regions": []}
    for number in range(count):
        things, image = corpus.scene(f"counting_{number:04}", corpus.rng.randint(2, 5), creature_share=0.3)
        rows["counting"].append(counting_row(corpus.rng, things, image, f"counting_{number:04}"))
        rows["regions"].append(region_row(corpus.rng, things, image, f"region_{number:04}"))
        row_id = f"transformation_{number:04}"
        before, first = corpus.scene(f"{row_id}_before", corpus.rng.randint(2, 3), creature_share=0.3)
        after, triples = transform(corpus.rng, before)
        last = f"images/{row_id}_after.png"
        draw(after).save(corpus.root / last)
        rows["transformation"].append(
            transformation_row(corpus.rng, before, after, triples, images=[first, last], row_id=row_id)
        )
    return rows


def _style_rows(corpus, counts: Size) -> dict[str, list[dict]]:
    return {
        "styles_train": styles_rows(corpus("styles_train"), "styles_train", counts.styles_train, [STANDARD]),
        "styles_test": styles_rows(corpus("styles_test"), "styles_test", counts.styles_test, STYLES),
        "student_rows": student_rows(corpus("student_rows"), counts.student),
        "teacher_rows": teacher_rows(corpus("teacher_rows"), counts.teacher),
    }


def _counting_rows(corpus: Callable[[str], Corpus], counts: Size) -> dict[str, list[dict]]:
    return {
        "color_train": color_rows(corpus("color_train"), "color_train", counts.color_train, external=True),
        "color_test": color_rows(corpus("color_test"), "color_test", counts.color_test, external=False),
        "color_start": start_rows(corpus("color_start"), "color_start", counts.color_start),
    }


def _write_json(path: Path, content: list | dict) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
