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
from shared.chromium import chromium, served
from shared.completion_runs import describe, entry, gated_run, large_run, write_step
from shared.hostile_run import PAYLOAD, hostile_run, hostile_synth
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


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(chrome: Any, address: str) -> Iterator[Any]:
    """The page, loaded; at the end nothing may have run, and nothing may have left this machine."""
    found = chrome.new_page(viewport={"width": 1400, "height": 1800})
    left: list[str] = []
    found.on("requestfinished", lambda request: left.append(request.url))
    found.on("requestfailed", lambda request: left.append(request.url) if request.failure != "csp" else None)
    found.goto(address)
    found.locator(".hc").first.wait_for(timeout=60_000)
    yield found
    assert found.evaluate("window.PWNED") is None
    assert not [url for url in left if urllib.parse.urlsplit(url).hostname not in (None, "127.0.0.1")]
    found.close()


def fill(page: Any, name: str, text: str) -> None:
    box = page.locator(f"{ID}{name} textarea, {ID}{name} input").first
    box.fill(text)
    box.press("Enter")


TRIES = 30  # of a second each


def choose(page: Any, name: str, value: str) -> None:
    """Choose an entry of a menu; the server fills menus anew when a run opens, so an entry may come a moment later."""
    box, option = page.locator(f"{ID}{name} input").first, page.get_by_role("option", name=value, exact=True)
    for _ in range(TRIES):
        box.click()
        page.wait_for_timeout(500)
        if option.count():
            break
        box.blur()
        page.wait_for_timeout(500)
    option.click()


def see(page: Any, text: str) -> None:
    """Wait for a text in the line of status."""
    page.locator(f"{ID}status").get_by_text(text).first.wait_for(timeout=30_000)


def open_run(page: Any, name: str) -> None:
    choose(page, "run", name)


def test_filters_pages_and_clear(page: Any) -> None:
    open_run(page, "gated")
    see(page, "31 of 31 completions in 7 groups.")
    choose(page, "source", "hinted")
    see(page, "6 of 31")
    fill(page, "step", "3")
    see(page, "2 of 31")
    fill(page, "row", "row-1")
    see(page, "1 of 31")
    assert page.locator(".hc-hit").count() == 1
    assert page.locator(".hc-card tbody tr").count() == 5
    page.locator(f"{ID}clear").click()
    see(page, "31 of 31")
    assert page.locator(f"{ID}step textarea, {ID}step input").first.input_value() == ""
    choose(page, "order", "reward: highest")
    choose(page, "gate", "open")
    see(page, "9 of 31")
    fill(page, "lowest", "many")
    see(page, "expected a number")


def test_missing_numbers_are_dashes(page: Any) -> None:
    open_run(page, "gated")
    choose(page, "finish", "length")
    see(page, "6 of 31")
    cells = page.locator(".hc-hit").first.locator("td").all_inner_texts()
    assert cells[3:5] == ["–", "–"]
    assert "0" not in cells[3:5]


def test_a_click_opens_the_history_of_a_row(page: Any) -> None:
    open_run(page, "gated")
    see(page, "31 of 31")
    page.locator("[data-hind-row='row-1']").first.click()
    see(page, "Row row-1: 3 groups")
    assert page.locator(f"{ID}row textarea, {ID}row input").first.input_value() == "row-1"
    assert page.locator("polyline").count() == 1
    assert page.locator(f"{ID}view input[value=history], {ID}view label.selected").count()


def test_two_runs_side_by_side(page: Any) -> None:
    open_run(page, "gated")
    see(page, "31 of 31")
    choose(page, "other", "other")
    page.locator(f"{ID}view").get_by_text("compare").click()
    see(page, "2 rows are in both runs")
    page.locator("[data-hind-row='row-0']").first.click()
    see(page, "of both")
    assert page.locator(".hc-two > div").count() == 2


def test_boxes_stand_where_the_row_says(page: Any) -> None:
    """Half of the picture's width is half of what is shown, whatever its size: read from what Chromium has laid out."""
    open_run(page, "gated")
    fill(page, "row", "row-0")
    see(page, "16 of 31")
    choose(page, "split", "train")
    see(page, "15 of 31")
    picture = page.locator(".hc-fig img").first
    picture.wait_for()
    outer, (first, second) = picture.bounding_box(), [one.bounding_box() for one in page.locator("svg rect").all()[:2]]
    scale = outer["width"] / 200
    assert outer["height"] == pytest.approx(100 * scale, abs=1)
    edge = 2.5 * scale  # of the line that is drawn
    assert first["x"] - outer["x"] == pytest.approx(20 * scale, abs=edge)
    assert first["y"] - outer["y"] == pytest.approx(10 * scale, abs=edge)
    assert second["x"] + second["width"] - outer["x"] == pytest.approx(180 * scale, abs=edge)
    assert second["y"] + second["height"] - outer["y"] == pytest.approx(90 * scale, abs=edge)
    titles = page.locator("svg rect").evaluate_all(
        "all => all.map(one => one.parentNode.querySelector('title').textContent)"
    )
    assert titles[0] == "row 0: red cube [20, 10, 60, 50]"
    page.keyboard.press("Escape")
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("b")
    page.locator(".hc-noboxes").wait_for()
    assert not page.locator("svg rect").first.is_visible()


def test_frames_of_a_clip_and_what_is_not_shown(page: Any) -> None:
    open_run(page, "clips")
    see(page, "1 of 1")
    grey = page.locator(".hc-grey").all_inner_texts()
    assert [text.split("\n")[-1] for text in grey] == ["missing", "outside of the media folder", "not a picture"]
    shown = page.locator(".hc-fig img")
    assert shown.count() == 4
    assert shown.evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    assert "root:x" not in page.content()


def test_nothing_of_a_run_is_executed(page: Any) -> None:
    """The payload is in every text, id, name and key; the page fixture looks whether it ran. The control is below."""
    open_run(page, "hostile")
    see(page, "6 of 6")
    for name in ("list", "prompts", "groups"):
        page.locator(f"{ID}view").get_by_text(name, exact=True).click()
        page.wait_for_timeout(700)
        assert PAYLOAD[:20] in page.locator(f"{ID}html").inner_text()
        assert page.locator("[data-pwned], img[src='x']").count() == 0
    for details in page.locator(".hc details > summary").all()[:10]:
        details.click()
    page.locator("[data-hind-view=history]").first.click()
    see(page, "groups, the newest first")
    for output in ("synth/out.jsonl", "synth/facts.jsonl"):
        open_run(page, output)
        see(page, "rows and texts")
        assert page.locator("[data-pwned], img[src='x']").count() == 0
        assert PAYLOAD[:20] in page.locator(f"{ID}html").inner_text()


def test_the_control_is_executed(chrome: Any, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same page made without `escape` does run the payload in this browser."""
    monkeypatch.setattr(render, "escape", str)
    browser = Browser([world])
    while (look := browser.look(View(run="hostile"))).busy:
        pass
    found = chrome.new_page()
    found.set_content(look.html)
    found.wait_for_function("window.PWNED !== undefined", timeout=10_000)
    found.close()


def test_a_hundred_thousand_completions(page: Any) -> None:
    open_run(page, "large")
    see(page, "100,480 of 100,480 completions in 12,560 groups. Page 1 of 1570.")
    page.locator(f"{ID}next").click()
    see(page, "Page 2 of 1570.")
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("ArrowRight")
    see(page, "Page 3 of 1570.")
    fill(page, "page", "1570")
    see(page, "Page 1570 of 1570.")
    page.locator(".hc-card").get_by_text("step 1", exact=True).first.wait_for()
    fill(page, "text", "#77")
    see(page, "640 of 100,480")


def test_an_export_says_where_it_is(page: Any, world: Path) -> None:
    open_run(page, "gated")
    choose(page, "source", "hinted")
    see(page, "6 of 31")
    page.get_by_role("button", name="Export what is picked").click()
    fill(page, "name", "hinted")
    page.locator(f"{ID}export").click()
    page.locator(f"{ID}exported").get_by_text("6 rows written to").wait_for()
    assert len((world / "gated" / "exports" / "hinted.jsonl").read_text().splitlines()) == 6


def test_dropped_rows_with_their_reasons(page: Any) -> None:
    open_run(page, "made/o.jsonl")
    see(page, "21 of 21 rows and texts: 20 kept, 1 dropped, 0 failed. Page 1 of 2.")
    choose(page, "state", "dropped")
    see(page, "1 of 21")
    page.locator(".hc-card").get_by_text("leaks").wait_for()


@pytest.mark.parametrize("run", ["linked", "../secret", "/etc", "gated/../../secret"])
def test_a_path_is_no_run(page: Any, run: str) -> None:
    """Written into the field of the menu, as a page may send what it likes."""
    box = page.locator(f"{ID}run input").first
    box.fill(run)
    box.press("Enter")
    page.get_by_text("not in the list").wait_for()
    assert "SECRET" not in page.content()


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


def test_the_tab_of_the_board(chrome: Any, tmp_path: Path) -> None:
    """The same page in the Board, over the folder in which it was started, in English and Chinese."""
    gated_run(tmp_path / "saves" / "gated", tmp_path / "media")
    with served(["webui"], tmp_path) as url:
        page = chrome.new_page(viewport={"width": 1400, "height": 1800})
        page.goto(url)
        page.get_by_role("tab", name="Completions").click(timeout=60_000)
        see(page, "31 of 31 completions in 7 groups.")
        page.locator(".hc-card img").first.wait_for()
        choose(page, "source", "hinted")
        see(page, "6 of 31")
        page.locator("[data-hind-row='row-1']").first.click()
        see(page, "Row row-1: 3 groups")
        language = page.get_by_label("Language").first
        language.click()
        page.get_by_role("option", name="zh", exact=True).click()
        page.get_by_role("tab", name="回答浏览").wait_for()
        page.locator(f"{ID}source").get_by_text("来源").wait_for()
        page.close()
