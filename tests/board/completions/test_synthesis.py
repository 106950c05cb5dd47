"""Outputs of `synth`: what was kept, dropped and failed, with reasons."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.board.completions.page import Browser, View
from llamafactory_hind.board.completions.query import Query
from llamafactory_hind.board.completions.synthesis import Synthesis, pick, quadrant, reasons


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Like an output of `hindsight`: two rows kept, one dropped, one failed; a picture in the folder above."""
    folder = tmp_path / "data" / "made"
    (tmp_path / "data" / "images").mkdir(parents=True)
    folder.mkdir()
    Image.new("RGB", (50, 40), "red").save(tmp_path / "data" / "images" / "a.png")
    kept = {"images": ["images/a.png"], "question": "what?", "answer": "fish", "cot": ["one", "two"], "knowledge": []}
    lines(folder / "o.jsonl", [{"id": "a", **kept}, {"id": "b", **kept}])
    lines(
        folder / "o.dropped.jsonl",
        [{"id": "c", "question": "why?", "reason": "leaks the answer", "attempts": ["so it is fish"]}],
    )
    lines(
        folder / "o.failures.jsonl",
        [
            {
                "id": "d",
                "file": "f",
                "number": 4,
                "reason": "no media",
                "fields": {"question": "where?"},
                "work_key": "",
            }
        ],
    )
    (folder / "o.report.json").write_text(json.dumps({"rows": 4, "kept": 2}))
    (folder / "o.journal.jsonl").write_text("")
    return folder / "o.jsonl"


def test_kept_dropped_and_failed(out: Path) -> None:
    items = Synthesis(out).items()
    assert [(item.state, item.row_id, item.reason) for item in items] == [
        ("kept", "a", ""),
        ("kept", "b", ""),
        ("dropped", "c", "leaks the answer"),
        ("failed", "d", "no media"),
    ]
    assert reasons(items) == {"leaks the answer": 1, "no media": 1}
    assert [item.row_id for item in pick(items, state="dropped")] == ["c"]
    assert [item.row_id for item in pick(items, reason="no media")] == ["d"]
    assert [item.row_id for item in pick(items, text="SO IT IS")] == ["c"]


def test_the_page_shows_texts_reasons_and_pictures(out: Path, tmp_path: Path) -> None:
    browser = Browser([tmp_path])
    assert browser.names() == ["data/made/o.jsonl"]
    found = browser.look(View())
    assert found.status == "4 of 4 rows and texts: 2 kept, 1 dropped, 1 failed. Page 1 of 1."
    assert found.choices == {"reason": ["leaks the answer", "no media"]}
    assert found.kind == "synth"
    for text in ("so it is fish", "leaks the answer", "where?", "no media", ">one<", "50 x 40"):
        assert text in found.html
    assert browser.look(View(state="dropped")).html.count("<article") == 1
    assert browser.look(View(query=Query(text="nothing of it"))).html.count("<article") == 0


def test_pictures_are_not_looked_for_above_the_root(out: Path) -> None:
    """The folder with the picture is above what may be looked into."""
    assert "50 x 40" not in Browser([out.parent]).look(View()).html


def test_a_file_that_is_written_at_this_moment(out: Path, tmp_path: Path) -> None:
    with open(out, "a") as file:
        file.write('{"id": "cu')
    found = Browser([tmp_path]).look(View())
    assert "2 kept" in found.status
    assert "Left out: o.jsonl" in found.status


def test_reasoning_samples_say_why(tmp_path: Path) -> None:
    """`video_reasoning` drops a row with the reason of each of its texts."""
    lines(tmp_path / "o.json", [])
    (tmp_path / "o.json").write_text("[]\n")
    lines(
        tmp_path / "o.dropped.jsonl",
        [{"id": "a", "question": "q", "samples": [{"text": "t", "reason": "cut"}, {"text": "", "reason": "empty"}]}],
    )
    (item,) = Synthesis(tmp_path / "o.json").items()
    assert (item.state, item.reason) == ("dropped", "cut, empty")
    html = Browser([tmp_path]).look(View()).html
    assert ">t<" in html


@pytest.mark.parametrize(
    ("helpful", "confidence", "name"),
    [
        (True, -0.5, "helpful, confident"),
        (True, -1.0, "helpful, unsure"),
        (False, -0.9, "unhelpful, confident"),
        (False, -2.0, "unhelpful, unsure"),
        (None, -0.5, ""),
        (True, None, ""),
    ],
)
def test_quadrants_are_those_of_the_pipeline(helpful: bool | None, confidence: float | None, name: str) -> None:
    """Confident is above the threshold, as `pipeline: knowledge` counts."""
    assert quadrant({"helpful": helpful, "confidence": confidence}, -1.0) == name


def test_facts_of_knowledge_are_shown_with_their_quadrant(tmp_path: Path) -> None:
    facts = [{"text": "t1", "confidence": -0.1, "helpful": True}, {"text": "t2", "confidence": -3.0, "helpful": False}]
    lines(tmp_path / "o.jsonl", [{"id": "a#0", "chosen": "t1", "rejected": "t2"}])
    lines(tmp_path / "o.samples.jsonl", [{"id": "a", "question": "q", "greedy": facts[0], "samples": facts}])
    counts = {"helpful, confident": 1, "helpful, unsure": 0, "unhelpful, confident": 0, "unhelpful, unsure": 1}
    shares = {name: count / 2 for name, count in counts.items()}
    report = {"quadrants": {"threshold": -1.0, "samples": 2, "counts": counts, "shares": shares}}
    (tmp_path / "o.quadrants.json").write_text(json.dumps(report))
    html = Browser([tmp_path]).look(View()).html
    for text in ("helpful, confident", "unhelpful, unsure", "1 (50.0%)", "0 (0.0%)", "greedy", "sampled"):
        assert text in html
