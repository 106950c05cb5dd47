"""What leaves: text as text, pixels as pixels, nothing else. A control shows that the payload bites where it is not escaped."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.board.completions import pictures, render, synthesis_page
from llamafactory_hind.board.completions.page import Browser, View
from llamafactory_hind.board.completions.pictures import NotShown, PictureReader
from llamafactory_hind.board.completions.query import Query
from llamafactory_hind.board.completions.view import VIEWS
from shared.completion_runs import describe, entry, write_step
from shared.hostile_run import PAYLOAD, hostile_run, hostile_synth


class Tags(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


OURS = {
    "style",
    "div",
    "p",
    "article",
    "span",
    "button",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
}
OURS |= {"pre", "figure", "figcaption", "img", "svg", "g", "title", "rect", "br", "text", "line", "polyline", "circle"}
HARMLESS = re.compile(
    r"class|style|role|scope|type|alt|aria-[a-z]+|data-hind(-[a-z]+)?|viewbox|preserveaspectratio|xmlns"
)
DRAWN = re.compile(
    r"[xy][12]?|width|height|fill|stroke(-[a-z]+)?|font-[a-z]+|opacity|points|r|c[xy]|text-anchor|dominant-baseline"
)


def foreign(html: str) -> list[str]:
    """Elements and attributes that no page of ours has, and pictures that are not its own."""
    found = []
    for tag, attributes in Tags(html).found:
        if tag not in OURS:
            found.append(tag)
        for name, value in attributes.items():
            if name == "src" and (value or "").startswith("data:image/jpeg;base64,"):
                continue
            if not HARMLESS.fullmatch(name) and not DRAWN.fullmatch(name):
                found.append(f"{tag} {name}")
    return found


def pages(root: Path) -> list[str]:
    """Every view of the hostile run, and of the hostile output."""
    browser = Browser([root])
    views = [
        View(run="run", other="other", view=view, query=Query(row=row)) for view in VIEWS for row in ("", PAYLOAD)
    ]
    views += [View(run=name) for name in browser.names() if name not in ("run", "other")]
    looks = []
    for view in views:
        while (look := browser.look(view)).busy:
            pass
        looks.append(look.html)
    return looks


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    for name in ("run", "other"):
        hostile_run(root / name)
    hostile_synth(root / "synth")
    return root


def test_nothing_of_a_run_becomes_markup(hostile: Path) -> None:
    found = pages(hostile)
    assert len(found) > len(VIEWS) * 2
    assert sum(html.count("&lt;img src=x") for html in found) > 40
    assert [foreign(html) for html in found] == [[]] * len(found)


def test_the_control_without_escape_is_caught(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (render, synthesis_page):
        monkeypatch.setattr(module, "escape", str)
    found = [foreign(html) for html in pages(hostile)]
    assert sum("img onerror" in one for one in found[: len(VIEWS) * 2]) >= 8  # two views say that a row is needed
    assert all("img onerror" in one for one in found[len(VIEWS) * 2 :])


@pytest.mark.parametrize("text", ["\"'<>&", "\ud800", "\x00", "a" * 30_000])
def test_escape(text: str) -> None:
    told = render.escape(text)
    assert not set(told) & set("<>\"'")
    assert len(told) < 21_000
    told.encode("utf-8")


@pytest.mark.parametrize("value", [None, True, float("nan"), "1", [1]])
def test_what_is_no_number_is_a_dash(value: Any) -> None:
    assert render.number(value) == "–"


def test_a_number_that_is_zero_is_shown() -> None:
    assert render.number(0) == render.number(0.0) == "0"


def test_a_page_shows_only_pictures_that_were_encoded_for_it() -> None:
    with pytest.raises(ValueError, match="encoded for it"):
        render.escape_url("http://elsewhere/a.jpg")


# pictures


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    folder = root / "m"
    (folder / "frames").mkdir(parents=True)
    Image.new("RGB", (640, 480), "red").save(folder / "a.png")
    Image.new("RGB", (3000, 2000), "red").save(folder / "large.jpg")
    photo = Image.new("RGB", (400, 200), "red")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "lying.jpg", exif=turned)
    for number in range(9):
        Image.new("RGB", (64, 64), (number * 20, 0, 0)).save(folder / "frames" / f"{number}.png")
    (folder / "text.png").write_text("root:x:0:0")
    (folder / "script.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    Image.new("RGB", (10, 10), "blue").save(root / "outside.png")
    (folder / "link.png").symlink_to(root / "outside.png")
    (folder / "frames" / "9.png").symlink_to(root / "outside.png")
    (folder / "inside.png").symlink_to(folder / "a.png")
    return folder


def test_a_picture_is_encoded_anew_and_small(media: Path) -> None:
    reader = PictureReader(media)
    one = reader.picture("a.png")
    assert (one.width, one.height, one.name, one.why) == (640, 480, "a.png", "")
    content = base64.b64decode(one.url.partition(",")[2])
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.format == "JPEG"
        assert max(shown.size) == 320
    assert (reader.picture("large.jpg").width, reader.picture("large.jpg").height) == (3000, 2000)
    assert len(reader.picture("large.jpg").url) < 60_000
    lying = reader.picture("lying.jpg")
    assert (lying.width, lying.height) == (200, 400)  # as it is looked at; boxes are of this
    assert reader.picture("inside.png").url == one.url


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone.png", "missing"),
        ("../outside.png", "outside of the media folder"),
        ("link.png", "outside of the media folder"),
        ("/etc/passwd", "outside of the media folder"),
        ("m/../../outside.png", "outside of the media folder"),
        ("text.png", "not a picture"),
        ("script.svg", "not a picture"),
        ("frames", "not a file"),
        ("", "embedded in the row"),
        (None, "embedded in the row"),
        ({"path": "a.png"}, "embedded in the row"),
        ("<Image>", "embedded in the row"),
        ("http://127.0.0.1/a.png", "not a file: addresses are not fetched"),
        ("file:///etc/passwd", "not a file: addresses are not fetched"),
        ("a\0.png", "not a picture"),
        ("../m2/a.png", "outside of the media folder"),
    ],
)
def test_what_is_not_shown_says_why(media: Path, name: Any, why: str) -> None:
    found = PictureReader(media).picture(name)
    assert (found.url, found.why) == ("", why)


def test_a_pipe_is_not_opened(media: Path) -> None:
    """To open it would wait for ever."""
    if not (media / "pipe.png").exists():
        os.mkfifo(media / "pipe.png")
    assert PictureReader(media).picture("pipe.png").why == "not a file"


@pytest.mark.parametrize(("limit", "value"), [("LARGEST_FILE", 100), ("MOST_PIXELS", 1000)])
def test_what_is_too_large_is_not_decoded(
    media: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(pictures, limit, value)
    assert PictureReader(media).picture("a.png").why == "too large"


def test_a_play_list_is_no_video(media: Path) -> None:
    """FFmpeg would open the addresses in it, whatever the name says."""
    (found,) = PictureReader(media).frames("list.mp4")
    assert found.why == "not a video"


def test_frames_of_a_folder_and_of_a_list(media: Path) -> None:
    reader = PictureReader(media)
    assert [frame.name for frame in reader.frames("frames")] == ["0.png", "3.png", "6.png", "9.png"]
    assert [frame.why for frame in reader.frames("frames")] == ["", "", "", "outside of the media folder"]
    assert [frame.why for frame in reader.frames(["frames/1.png", "../outside.png"])] == [
        "",
        "outside of the media folder",
    ]
    assert [frame.why for frame in reader.frames("frames#t=0,&f=1.png,../../outside.png")] == [
        "",
        "outside of the media folder",
    ]
    assert reader.frames([])[0].why == "no frames"


def test_nobody_knows_where_the_media_are(media: Path) -> None:
    with pytest.raises(NotShown, match="does not say"):
        PictureReader(None).resolve("a.png")


def test_boxes_are_in_original_pixels(tmp_path: Path, media: Path) -> None:
    """The picture is shown smaller; the drawing has the size of the original, so the numbers are those of the row."""
    boxes = [
        {"image": 0, "box": [64.5, 48, 320, 240], "label": "cat", "origin": "row"},
        {"image": 1, "box": [1, 2, 3, 4], "label": None, "origin": "model"},
        {"image": 0, "box": "no box", "origin": "row"},
    ]
    images = json.dumps({"images": ["a.png", "gone.png"]})
    write_step(tmp_path / "run", 1, [entry(1, 0, 0, media=images, boxes=json.dumps(boxes))])
    describe(tmp_path / "run", media)
    html = Browser([tmp_path]).look(View()).html
    assert 'viewBox="0 0 640 480"' in html
    assert '<rect x="64.5" y="48" width="255.5" height="192"' in html
    assert 'alt="a.png, 1 boxes"' in html
    assert html.count("<rect") == 1  # the second picture is missing; its box is in the list
    assert "1, 2, 3, 4" in html


def test_no_boxes_are_drawn_on_a_part_that_was_cut_out(media: Path) -> None:
    found = PictureReader(media).picture('a.png#region={"crop":[0,0,64,48]}')
    assert found.url
    assert not found.boxed
    assert "<svg" not in render.figure(found, [{"image": 0, "box": [0, 0, 1, 1], "origin": "row"}])
