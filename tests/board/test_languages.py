"""Every word of our tabs in English and in Chinese: of elements, of their help, and of the pages that are made while one looks."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import llamafactory_hind.board
from llamafactory_hind.board.chinese import TEXTS
from llamafactory_hind.board.completions.page import Browser, View
from llamafactory_hind.board.completions.query import Query
from llamafactory_hind.board.completions.view import VIEWS
from llamafactory_hind.board.curves.live import LiveCurves
from llamafactory_hind.board.curves.panels import PANELS, WRONG
from llamafactory_hind.board.jobs.state import read_state
from llamafactory_hind.board.labels import locales
from llamafactory_hind.board.speech import speaking, tr
from llamafactory_hind.board.synth.job_page import job_page
from llamafactory_hind.board.synth.results import scores_page
from shared.completion_runs import describe, entry, gated_run, write_step


CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]{2,}")
DATA = re.compile(  # what the files of these tests hold; it is shown as it is, in any language
    r"row-\d|gated|other|accuracy|policy|hinted|eval|train|stop|length|blue|red cube|greedy|passed over|question \d"
    r"|step \d group \d sample \d|look \w+|(failed|rejected): [\w ]+|\w+\.png( · \d+ x \d+)?|x1, y1, x2, y2"
    r"|(rewards/)?\w+ [\d.]+|synth answer|loss|reward|KL|rows|(vqa_)?\w+/?\w* -?[\d.e-]+|vqa_accuracy|95 %"
    r"|why\?|fish|question|answer|cot|leaks|<image>question \d|v\.mp4|rows: 10.*|[ab]: \S+( -?[\d.e-]+)?"
)
PAGES: dict[str, Callable[[Path], Iterator[str]]] = {}


def pages(make: Callable[[Path], Iterator[str]]) -> Callable[[Path], Iterator[str]]:
    """Enter what makes pages of one kind."""
    PAGES[make.__name__] = make
    return make


class Said(HTMLParser):
    """What a page says: its texts, and the names of what has no text; not what stands as it was written in a file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "br", "rect", "line", "circle", "polyline"):
            self.inside.append(tag)
        self.texts += [value for name, value in attributes if name in ("aria-label", "alt", "title") and value]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, text: str) -> None:
        if not {"style", "pre"} & set(self.inside) and text.strip():
            self.texts.append(text.strip())


@pages
def completions(folder: Path) -> Iterator[str]:
    """Every view, with and without a row, and what stands there where nothing is found."""
    root = folder / "runs"
    for name in ("gated", "other"):
        gated_run(root / name, root / "media")
    missing = json.dumps({"images": ["gone.png", "../x.png"], "videos": ["v.mp4"], "audios": []})
    write_step(root / "gated", 4, [entry(4, 0, 0, media=missing, completion="ж" * 20_010)])
    describe(root / "gated", root / "media")
    (root / "empty").mkdir()
    (root / "empty" / "trainer_log.jsonl").write_text("")
    browser = Browser([root])
    queries = [Query(), Query(row="row-0"), Query(row="row-9"), Query(text="passed")]
    views = [View("gated", "other", view, query) for view in VIEWS for query in queries]
    for view in [*views, View("gated", "", "compare"), View("empty"), View("other", query=Query(text="x", step=1))]:
        while (look := browser.look(view)).busy:
            pass
        yield f"{look.html}<p>{look.status}</p>"
    yield Browser([folder / "absent"]).look(View()).html


@pages
def outputs_of_synth(folder: Path) -> Iterator[str]:
    (folder / "o.jsonl").write_text(
        json.dumps({"id": 1, "question": "why?", "cot": ["fish"], "answer": "fish"}) + "\n"
    )
    (folder / "o.dropped.jsonl").write_text(json.dumps({"id": 2, "reason": "leaks", "x": 1}) + "\n")
    (folder / "o.report.json").write_text(json.dumps({"quadrants": {"counts": {}, "shares": {}}}))
    browser = Browser([folder])
    for view in (View("o.jsonl"), View("o.jsonl", state="failed")):
        look = browser.look(view)
        yield f"{look.html}<p>{look.status}</p>"


@pages
def curves(folder: Path) -> Iterator[str]:
    """All panels, every remark, a run that was taken up again, each state of a run."""
    for name, (low, last) in {"a": (1, 9), "b": (2, 5)}.items():
        metrics = {metric.replace("*", "x"): step for _, some in PANELS for metric in some for step in (low,)}
        lines = [
            {"current_steps": step, "total_steps": 9, "total_tokens": step, **metrics} for step in (low, 4, 3, last)
        ]
        wrong = {metric: value for metric, (value, _) in WRONG.items()} | {"hints/triggered": 1, "hints/written": 0}
        (folder / name).mkdir()
        text = "".join(json.dumps({**line, **wrong}) + "\n" for line in lines)
        (folder / name / "trainer_log.jsonl").write_text(text + "no line\n")
    live = LiveCurves([folder])
    for axis in ("step", "tokens"):
        yield "".join(live.draw(live.runs.names(), smoothing=0.0, axis=axis, tables=True)[:2])
    yield live.draw([], smoothing=0.0, axis="step", tables=True)[1]
    yield LiveCurves([folder / "absent"]).draw([], smoothing=0.0, axis="step", tables=True)[1]


@pages
def jobs_and_scores(folder: Path) -> Iterator[str]:
    yield job_page(None)
    (folder / "job.json").write_text(
        json.dumps({"title": "synth answer", "by": "1", "settings": {"output": "x.json"}})
    )
    (folder / "log.txt").write_text("rows: 10%|x| 1/2 [0]\n")
    for ended in ({"code": 0}, {"code": 1}, {"code": -15, "stopped": True}):
        (folder / "ended.json").write_text(json.dumps(ended))
        yield job_page(read_state(folder))
    mean = {"score": 0.5, "interval": [0.25, 0.75], "questions": 4}
    (folder / "s.json").write_text(json.dumps({"metrics": {"vqa_accuracy": mean}, "questions": 4, "interval": "95 %"}))
    yield scores_page(folder / "s.json")


@pytest.mark.parametrize("kind", sorted(PAGES))
def test_a_page_in_chinese_has_no_english_of_ours(kind: str, tmp_path: Path) -> None:
    """The same pages twice: a text with a word that did not change must be one of the files."""
    said = {}
    for language in ("en", "zh"):
        (tmp_path / language).mkdir()
        with speaking(language):
            said[language] = {text for page in PAGES[kind](tmp_path / language) for text in Said(page).texts}
    assert any(CHINESE.search(text) for text in said["zh"])
    assert not [text for text in said["en"] if CHINESE.search(text)]
    left = sorted(text for text in said["en"] & said["zh"] if ENGLISH.search(text) and not DATA.fullmatch(text))
    assert left == []


def test_every_text_of_ours_has_chinese() -> None:
    """Of all calls of `tr`, those that name their text."""
    root = Path(llamafactory_hind.board.__file__).parent
    named = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
                named |= {
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and ENGLISH.search(part.value)
                }
    named -= {"origin"}  # a key of a box, whose value is said
    assert len(named) > 80
    assert sorted(named - set(TEXTS)) == []
    assert all(CHINESE.search(text) for text in TEXTS.values())
    fields = re.compile(r"\{(\w+)")
    assert all(sorted(fields.findall(text)) == sorted(fields.findall(chinese)) for text, chinese in TEXTS.items())


def test_every_element_has_both_languages_and_every_field_its_help() -> None:
    for name, languages in locales().items():
        for attribute, english in languages["en"].items():
            chinese: Any = languages["zh"][attribute]
            if attribute == "choices":
                assert [value for _, value in english] == [value for _, value in chinese], name
                assert all(CHINESE.search(shown) for shown, _ in chinese), name
            else:
                assert CHINESE.search(chinese), (name, attribute, chinese)
                assert not CHINESE.search(english), (name, attribute)


def test_a_page_speaks_one_language_whatever_another_one_speaks() -> None:
    with speaking("zh"):
        assert tr("finished") == "已完成"
        with speaking("ru"):
            assert tr("finished") == "finished"
        assert tr("no such text") == "no such text"
        assert tr("Page {page} of {pages}.", page=1, pages=2) == "第 1 页，共 2 页。"
    assert tr("finished") == "finished"
