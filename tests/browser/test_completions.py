"""The browser of completions in a real Chromium: `llamafactory-cli browse`, and the same page in a tab of the Board.

`make test-browser` runs it. It needs a Chromium (`apt-get install chromium`) and the package `playwright`.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.board.completions import render
from llamafactory_hind.board.completions.page import Browser, View
from shared.board import SECONDS, language, open_tab, opened, pick, until
from shared.completion_runs import describe, entry, gated_run, large_run, write_step
from shared.hostile_run import PAYLOAD, hostile_run, hostile_synth
from shared.servers import served
from shared.videos import write_video


pytestmark = pytest.mark.browser
ID = "#hind_completions_"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs; `secret` lies beside it."""
    folder = tmp_path_factory.mktemp("browse")
    root = folder / "runs"
    gated_run(root / "gated", root / "media")
    gated_run(root / "other", root / "media")
    hostile_run(root / "hostile")
    hostile_synth(root / "synth")
    _made(root / "made")
    large_run(root / "large", steps=157, a_step=640, words=4)
    write_step(folder / "secret", 1, [entry(1, 0, 0, completion="SECRET")])
    (root / "linked").symlink_to(folder / "secret")
    _clips(root / "clips", root / "media", folder)
    return root


def _made(folder: Path) -> None:
    """An output of `synth`: twenty rows kept, one dropped."""
    folder.mkdir()
    rows = [{"id": number, "question": "q", "cot": ["c"]} for number in range(20)]
    (folder / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "o.dropped.jsonl").write_text(json.dumps({"id": "d", "reason": "leaks", "attempts": ["fish"]}) + "\n")


def _clips(run: Path, media: Path, outside: Path) -> None:
    """A clip, a picture that is missing, one outside, and a text file that is named like a picture."""
    write_video(media / "v.mp4")
    Image.new("RGB", (5, 5)).save(outside / "outside.png")
    (media / "passwd.png").write_text("root:x:0:0")
    images = ["gone.png", "../../outside.png", "passwd.png"]
    told = json.dumps({"images": images, "videos": ["v.mp4"], "audios": []})
    write_step(run, 1, [entry(1, 0, 0, media=told)])
    describe(run, media)


@pytest.fixture(scope="module")
def address(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(["browse", str(world), "--port", "{port}"], tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def runs(browser: Any, address: str) -> Iterator[Any]:
    """The page of `browse`, loaded; at the end nothing may have run, and nothing may have left this machine."""
    found = browser.new_page(viewport={"width": 1400, "height": 1800})
    found.set_default_timeout(1000 * SECONDS)
    left: list[str] = []
    found.on("requestfinished", lambda request: left.append(request.url))
    found.on("requestfailed", lambda request: left.append(request.url) if request.failure != "csp" else None)
    opened(found, address, lambda page: page.locator(".hc").first.wait_for())
    yield found
    assert found.evaluate("window.PWNED") is None
    assert not [url for url in left if urllib.parse.urlsplit(url).hostname not in (None, "127.0.0.1")]
    found.close()


SHOWS = {"list": ".hc > .hc-wide", "prompts": ".hc [data-hind-view=history]", "groups": ".hc-card"}


def fill(page: Any, name: str, text: str) -> None:
    box = page.locator(f"{ID}{name} textarea, {ID}{name} input").first
    box.fill(text)
    box.press("Enter")


def choose(page: Any, name: str, value: str) -> None:
    """Choose an entry of a menu; the server fills menus anew when a run opens, so an entry may come a moment later."""
    pick(page.locator(f"{ID}{name} input").first, page.get_by_role("option", name=value, exact=True))


def see(page: Any, text: str) -> None:
    """Wait for a text in the line of status."""
    page.locator(f"{ID}status").get_by_text(text).first.wait_for()


def open_run(page: Any, name: str) -> None:
    choose(page, "run", name)


def test_filters_pages_and_clear(runs: Any) -> None:
    open_run(runs, "gated")
    see(runs, "31 of 31 completions in 7 groups.")
    choose(runs, "source", "hinted")
    see(runs, "6 of 31")
    fill(runs, "step", "3")
    see(runs, "2 of 31")
    fill(runs, "row", "row-1")
    see(runs, "1 of 31")
    assert runs.locator(".hc-hit").count() == 1
    assert runs.locator(".hc-card tbody tr").count() == 5
    runs.locator(f"{ID}clear").click()
    see(runs, "31 of 31")
    assert runs.locator(f"{ID}step textarea, {ID}step input").first.input_value() == ""
    choose(runs, "order", "reward: highest")
    choose(runs, "gate", "open")
    see(runs, "9 of 31")
    fill(runs, "lowest", "many")
    see(runs, "expected a number")


def test_missing_numbers_are_dashes(runs: Any) -> None:
    open_run(runs, "gated")
    choose(runs, "finish", "length")
    see(runs, "6 of 31")
    cells = runs.locator(".hc-hit").first.locator("td").all_inner_texts()
    assert cells[3:5] == ["–", "–"]
    assert "0" not in cells[3:5]


def test_a_click_opens_the_history_of_a_row(runs: Any) -> None:
    open_run(runs, "gated")
    see(runs, "31 of 31")
    runs.locator("[data-hind-row='row-1']").first.click()
    see(runs, "Row row-1: 3 groups")
    assert runs.locator(f"{ID}row textarea, {ID}row input").first.input_value() == "row-1"
    assert runs.locator("polyline").count() == 1
    assert runs.locator(f"{ID}view input[value=history], {ID}view label.selected").count()


def test_two_runs_side_by_side(runs: Any) -> None:
    open_run(runs, "gated")
    see(runs, "31 of 31")
    choose(runs, "other", "other")
    runs.locator(f"{ID}view").get_by_text("compare").click()
    see(runs, "2 rows are in both runs")
    runs.locator("[data-hind-row='row-0']").first.click()
    see(runs, "of both")
    assert runs.locator(".hc-two > div").count() == 2


def test_boxes_stand_where_the_row_says(runs: Any) -> None:
    """Half of the picture's width is half of what is shown, whatever its size: read from what Chromium has laid out."""
    open_run(runs, "gated")
    fill(runs, "row", "row-0")
    see(runs, "16 of 31")
    choose(runs, "split", "train")
    see(runs, "15 of 31")
    picture = runs.locator(".hc-fig img").first
    picture.wait_for()
    outer, (first, second) = picture.bounding_box(), [one.bounding_box() for one in runs.locator("svg rect").all()[:2]]
    scale = outer["width"] / 200
    assert outer["height"] == pytest.approx(100 * scale, abs=1)
    edge = 2.5 * scale  # of the line that is drawn
    assert first["x"] - outer["x"] == pytest.approx(20 * scale, abs=edge)
    assert first["y"] - outer["y"] == pytest.approx(10 * scale, abs=edge)
    assert second["x"] + second["width"] - outer["x"] == pytest.approx(180 * scale, abs=edge)
    assert second["y"] + second["height"] - outer["y"] == pytest.approx(90 * scale, abs=edge)
    titles = runs.locator("svg rect").evaluate_all(
        "all => all.map(one => one.parentNode.querySelector('title').textContent)"
    )
    assert titles[0] == "row 0: red cube [20, 10, 60, 50]"
    runs.keyboard.press("Escape")
    runs.locator("body").click(position={"x": 2, "y": 2})
    runs.keyboard.press("b")
    runs.locator(".hc-noboxes").wait_for()
    assert not runs.locator("svg rect").first.is_visible()


def test_frames_of_a_clip_and_what_is_not_shown(runs: Any) -> None:
    open_run(runs, "clips")
    see(runs, "1 of 1")
    grey = runs.locator(".hc-grey").all_inner_texts()
    assert [text.split("\n")[-1] for text in grey] == ["missing", "outside of the media folder", "not a picture"]
    shown = runs.locator(".hc-fig img")
    assert shown.count() == 4
    assert shown.evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    assert "root:x" not in runs.content()


def test_nothing_of_a_run_is_executed(runs: Any) -> None:
    """The payload is in every text, id, name and key; the page fixture looks whether it ran. The control is below."""
    open_run(runs, "hostile")
    see(runs, "6 of 6")
    for name in ("list", "prompts", "groups"):
        runs.locator(f"{ID}view").get_by_text(name, exact=True).click()
        until(lambda: PAYLOAD[:20] in runs.locator(f"{ID}html").inner_text())
        until(lambda name=name: runs.locator(SHOWS[name]).count())
        assert runs.locator("[data-pwned], img[src='x']").count() == 0
    for details in runs.locator(".hc details > summary").all()[:10]:
        details.click()
    runs.locator("[data-hind-view=history]").first.click()
    see(runs, "groups, the newest first")
    for output in ("synth/out.jsonl", "synth/facts.jsonl"):
        open_run(runs, output)
        see(runs, "rows and texts")
        assert runs.locator("[data-pwned], img[src='x']").count() == 0
        assert PAYLOAD[:20] in runs.locator(f"{ID}html").inner_text()


def test_the_control_is_executed(browser: Any, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same page made without `escape` does run the payload in this browser."""
    monkeypatch.setattr(render, "escape", str)
    shown = Browser([world])
    while (look := shown.look(View(run="hostile"))).busy:
        pass
    found = browser.new_page()
    found.set_content(look.html)
    found.wait_for_function("window.PWNED !== undefined", timeout=1000 * SECONDS)
    found.close()


def test_a_hundred_thousand_completions(runs: Any) -> None:
    open_run(runs, "large")
    see(runs, "100,480 of 100,480 completions in 12,560 groups. Page 1 of 1570.")
    runs.locator(f"{ID}next").click()
    see(runs, "Page 2 of 1570.")
    runs.locator("body").click(position={"x": 2, "y": 2})
    runs.keyboard.press("ArrowRight")
    see(runs, "Page 3 of 1570.")
    fill(runs, "page", "1570")
    see(runs, "Page 1570 of 1570.")
    runs.locator(".hc-card").get_by_text("step 1", exact=True).first.wait_for()
    fill(runs, "text", "#77")
    see(runs, "640 of 100,480")


def test_an_export_says_where_it_is(runs: Any, world: Path) -> None:
    open_run(runs, "gated")
    choose(runs, "source", "hinted")
    see(runs, "6 of 31")
    runs.get_by_role("button", name="Export what is picked").click()
    fill(runs, "name", "hinted")
    runs.locator(f"{ID}export").click()
    runs.locator(f"{ID}exported").get_by_text("6 rows written to").wait_for()
    assert len((world / "gated" / "exports" / "hinted.jsonl").read_text().splitlines()) == 6


def test_dropped_rows_with_their_reasons(runs: Any) -> None:
    open_run(runs, "made/o.jsonl")
    see(runs, "21 of 21 rows and texts: 20 kept, 1 dropped, 0 failed. Page 1 of 2.")
    choose(runs, "state", "dropped")
    see(runs, "1 of 21")
    runs.locator(".hc-card").get_by_text("leaks").wait_for()


@pytest.mark.parametrize("run", ["linked", "../secret", "/etc", "gated/../../secret"])
def test_a_path_is_no_run(runs: Any, run: str) -> None:
    """Written into the field of the menu, as a page may send what it likes."""
    box = runs.locator(f"{ID}run input").first
    box.fill(run)
    box.press("Enter")
    runs.get_by_text("not in the list").wait_for()
    assert "SECRET" not in runs.content()


@pytest.mark.parametrize(
    "path", ["runs/gated/completions/_run.json", "outside.png", "secret/completions/00000001-00000.parquet"]
)
def test_no_file_is_served(address: str, world: Path, path: str) -> None:
    for route in ("/gradio_api/file=", "/file="):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + route + urllib.parse.quote(str(world.parent / path)))
        assert error.value.code in (403, 404)


def test_no_end_point_has_a_name(address: str) -> None:
    with urllib.request.urlopen(address + "/gradio_api/info") as answer:
        assert json.loads(answer.read()) == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_the_tab_of_the_board(page: Any) -> None:
    """The same page in the Board, over the folder in which it was started, in English and Chinese."""
    open_tab(page, "Completions")
    open_run(page, "runs/gated")
    see(page, "31 of 31 completions in 7 groups.")
    page.locator(".hc-card img").first.wait_for()
    choose(page, "source", "hinted")
    see(page, "6 of 31")
    page.locator("[data-hind-row='row-1']").first.click()
    see(page, "Row row-1: 3 groups")
    language(page, "zh")
    page.get_by_role("tab", name="回答浏览").wait_for()
    page.locator(f"{ID}source").get_by_text("来源").wait_for()
    see(page, "样本 row-1：3 组，最新的在前。")
    page.locator(f"{ID}view").get_by_text("分组").click()
    see(page, "31 个回答中的")
