"""The world of clips: answers are read again from the pixels of the files; no single frame has them; two builds are equal."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.formats.media.clips import Clip
from llamafactory_hind.formats.video_reasoning.rows import find_problems, open_media, read_options
from llamafactory_hind.pipelines.rules.refining import refine
from llamafactory_hind.toyworld.video.questions import COUNTS, bounce_questions, color_questions, stop_questions
from llamafactory_hind.toyworld.video.stories import (
    FPS,
    PALETTE,
    RGB,
    SIDE,
    WINDOW,
    Scene,
    bounce_story,
    colors_story,
    stop_second,
    stop_story,
)
from shared.store import kept


def build_video_world(folder: Path) -> None:
    from llamafactory_hind.toyworld.video.build import build

    build(folder, seed=0, size="small")


@pytest.fixture(scope="module")
def world() -> Path:
    return kept("video_world", build_video_world)


def rows_of(world: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((world / "rows" / f"video_{name}.json").read_text())


def nearest_color(pixel: tuple[int, ...]) -> str:
    def distance(name: str) -> int:
        known = [int(RGB[name][place : place + 2], 16) for place in (1, 3, 5)]
        return sum((one - other) ** 2 for one, other in zip(pixel, known, strict=True))

    return min(RGB, key=distance)


def scene_in(image: Image.Image) -> Scene:
    """Read a scene from pixels: the lamp above, the disc left or right, in the middle or below."""
    half = SIDE // 2
    lamp = image.getpixel((3, 3))
    is_lit = sum(lamp) > 150
    row = half + half // 2 if is_lit else half
    left, right = image.getpixel((half // 2, row)), image.getpixel((half + half // 2, row))
    is_right = sum(right) > sum(left)
    color = nearest_color(right if is_right else left)
    return Scene(color, is_right, nearest_color(lamp) if is_lit else None)


def story_in(world: Path, row: dict[str, Any]) -> list[Scene]:
    """Read the story of a row's clip from its file, one frame a second."""
    media = {"images": [], "videos": [str(world / row["videos"][0])], "audios": []}
    clip = Clip(open_media(row, media)["videos"][0])
    assert clip.count == WINDOW * FPS
    return [scene_in(image) for image in clip.images(range(FPS // 2, clip.count, FPS))]


def answer_from(story: list[Scene], row: dict[str, Any]) -> str:
    """Answer a question from what was read, by other means than the generator."""
    colors, words = [scene.color for scene in story], row["question"].rstrip("?").split()
    if row["type"] == "TP":
        return min((words[-3], words[-1]), key=colors.index)
    if row["type"] == "TN":
        return colors[colors.index(words[-1]) + 1]
    if row["type"] == "DC":
        return COUNTS[colors.count(words[-1])]
    if row["type"] == "TC":
        place = [scene.right for scene in story].index(True)
        return colors[place - 1 if "before" in words else place + 1]
    moves = [second for second in range(1, WINDOW) if story[second].right != story[second - 1].right]
    return f"the {story[moves[-1] + 1].lamp} lamp"


@pytest.mark.parametrize("name", ["lessons", "train", "test"])
def test_answers_are_in_the_pixels(world: Path, name: str) -> None:
    rows = rows_of(world, name)
    assert {row["type"] for row in rows} >= {"TP", "DC", "TC", "CW"}
    for row in rows:
        assert answer_from(story_in(world, row), row) == row["answer"], row["id"]


def test_rows_are_good_ones_and_their_reasoning_survives_refining(world: Path) -> None:
    info = json.loads((world / "dataset_info.json").read_text())
    for name in ("video_train", "video_lessons", "video_test_thinking"):
        options = read_options(info[name], name=name)
        for row in rows_of(world, info[name]["file_name"].removeprefix("rows/video_").removesuffix(".json")):
            assert not list(find_problems(row, options))
            written = f"{row['reasoning']}\nAnswer: {row['answer']}"
            gold = row["choices"].index(row["answer"])
            assert refine(written, row["choices"], {gold}).text.startswith(row["reasoning"].partition(".")[0])


def test_a_story_stops_once() -> None:
    for seed in range(50):
        story = stop_story(random.Random(seed), WINDOW)
        stop = stop_second(story)
        assert 2 <= stop < WINDOW
        assert [one.right != other.right for one, other in itertools.pairwise(story)] == [
            second < stop for second in range(1, WINDOW)
        ]
        assert [scene.lamp for scene in story].count(story[stop].lamp) == 1


@pytest.mark.parametrize(
    ("tell", "ask"),
    [(colors_story, color_questions), (bounce_story, bounce_questions), (stop_story, stop_questions)],
)
def test_answers_are_spread_over_the_options(tell: Callable[..., Any], ask: Callable[..., Any]) -> None:
    """A constant answer is right for less than half of a type."""
    found: dict[str, list[str]] = {}
    for seed in range(400):
        rng = random.Random(seed)
        for question in ask(rng, tell(rng, WINDOW)):
            assert question.answer in question.choices
            found.setdefault(question.kind, []).append(question.answer)
    for answers in found.values():
        assert max(map(answers.count, set(answers))) < 0.5 * len(answers)
        assert len(set(answers)) == 4


def test_no_single_second_tells_the_answer() -> None:
    """The color of any one second agrees with the answer hardly more often than chance."""
    agreed: dict[tuple[str, int], list[bool]] = {}
    for seed in range(1000):
        rng = random.Random(seed)
        for tell, ask in ((colors_story, color_questions), (bounce_story, bounce_questions)):
            story = tell(rng, WINDOW)
            for question in ask(rng, story):
                if question.kind in ("TN", "TC"):
                    for second, scene in enumerate(story):
                        agreed.setdefault((question.kind, second), []).append(scene.color == question.answer)
    assert all(sum(hits) / len(hits) < 0.45 for hits in agreed.values())
    assert len(PALETTE) == 4


def test_the_same_seed_writes_the_same_bytes(world: Path, tmp_path: Path) -> None:
    build_video_world(tmp_path)
    files = [path.relative_to(world) for path in world.rglob("*") if path.is_file()]
    differing = [str(file) for file in files if (world / file).read_bytes() != (tmp_path / file).read_bytes()]
    assert not differing
