"""The check of media does what training does, names every file that it cannot read, and asks no file twice."""

import hashlib
import io
import os
import shutil
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llamafactory_hind.formats.media.check import MediaCheck
from llamafactory_hind.formats.media.file_digests import FileDigests
from llamafactory_hind.formats.media.verdicts import VerdictStore
from llamafactory_hind.formats.media.view import MediaView
from llamafactory_hind.storage.digests import LARGE
from shared.media import make_clip, odd_pictures, turned


def reason_of(kind: str, path: Any, **view: Any) -> str | None:
    problem = MediaCheck(view=MediaView(**view)).find_problem(f"{kind}[0]", kind, path)
    return None if problem is None else str(problem)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header names a size, with few bytes of data: what a decompression bomb looks like."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def jpeg_bytes(side: int = 400) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def damaged_in_the_middle(path: Path) -> str:
    """A clip whose middle third is zeros; its first and last frames are whole."""
    raw = bytearray(Path(make_clip(path, shades=[(7 * number) % 250 for number in range(160)])).read_bytes())
    start = raw.index(b"mdat") + 4
    length = len(raw) - start if raw.index(b"moov") < start else raw.index(b"moov") - 4 - start
    raw[start + length // 3 : start + 2 * length // 3] = bytes(2 * length // 3 - length // 3)
    path.write_bytes(bytes(raw))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.png", b"", "UnidentifiedImageError"),
        ("text.jpg", b"<!DOCTYPE html><html>404</html>", "UnidentifiedImageError"),
        ("cut.jpg", jpeg_bytes()[:20_000], "truncated"),
        ("bomb.png", png_of(60_000, 60_000), "DecompressionBombError"),
        ("line.png", png_of(700_000, 1), "leaves nothing of one side"),
    ],
)
def test_bad_pictures(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    if name == "line.png":
        Image.new("L", (700_000, 1)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    reason = reason_of("images", str(tmp_path / name))
    assert reason is not None
    assert told in reason
    assert name in reason
    assert reason_of("images", (tmp_path / name).read_bytes()) is not None  # inside a Parquet file


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("gone.png", "the file does not exist"),
        ("https://example.org/a.png", "an address is not read; save it as a file"),
        ("data:image/png;base64,AAAA", "base64 text is not read; save it as a file"),
    ],
)
def test_what_is_no_file_says_why(path: str, told: str) -> None:
    assert told in (reason_of("images", path) or "")


def test_bad_videos(tmp_path: Path) -> None:
    """Each is refused with its reason; a sound is no video, a still picture and a GIF are."""
    clip = Path(make_clip(tmp_path / "a.mp4", shades=[10] * 40))
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    (tmp_path / "empty.mp4").write_bytes(b"")
    Image.new("RGB", (32, 32)).save(tmp_path / "still.png")
    odd_pictures(tmp_path)
    assert "expected a readable video" in (reason_of("videos", damaged_in_the_middle(tmp_path / "middle.mp4")) or "")
    for name in ("cut.mp4", "empty.mp4", "gone.mp4"):
        assert "expected a readable video" in (reason_of("videos", str(tmp_path / name)) or ""), name
    for name in ("a.mp4", "still.png", "moves.gif"):
        assert reason_of("videos", str(tmp_path / name)) is None, name


def test_a_video_that_ends_before_its_header_says_so(tmp_path: Path) -> None:
    """An MP4 with its index in front, as the web has them: the header promises 6 s, the file has less."""
    shades = [(7 * number) % 250 for number in range(60)]
    path = Path(make_clip(tmp_path / "a.mp4", shades=shades, options={"movflags": "faststart"}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "s are missing" in (reason_of("videos", str(path)) or "")


def test_the_host_alone_decodes_what_we_do_not(tmp_path: Path) -> None:
    """With one frame asked for, ours decodes the first; `media_as_host` goes through all of the file, as the host does."""
    path = damaged_in_the_middle(tmp_path / "middle.mp4")
    assert reason_of("videos", path, video_maxlen=1) is None
    assert reason_of("videos", path, video_maxlen=1, media_as_host=True) is not None


def test_what_the_host_alone_sees_otherwise_is_counted_once(tmp_path: Path) -> None:
    paths = odd_pictures(tmp_path)
    opaque = Image.new("RGBA", (32, 32), (1, 2, 3, 255))
    opaque.save(tmp_path / "opaque.png")
    clips = [make_clip(tmp_path / f"{number}.mp4", shades=[9] * 8) for number in range(3)]
    clips += [turned(make_clip(tmp_path / "turned.mp4", shades=[9] * 8), 90)]
    clips += [make_clip(tmp_path / "a.mkv", shades=[9] * 8)]
    clips += [make_clip(tmp_path / "varies.mp4", shades=[9] * 5, ticks=[0, 1, 2, 3, 90])]
    check = MediaCheck(workers=2)
    check.open_all([*(("images", path) for path in (*paths.values(), str(tmp_path / "opaque.png")))])
    check.open_all([("videos", path) for path in clips])
    told = check.told_differences()
    assert told is not None
    assert "of 18 pictures" in told
    for part in ("3 have an EXIF rotation", "4 have transparency", "3 have grays of more than 8 bits"):
        assert part in told
    assert "of 6 videos" in told
    for part in ("1 have a rotation flag", "1 have no number of frames in the header", "1 have a rate that varies"):
        assert part in told
    assert "`media_as_host: true`" in told
    plain = MediaCheck()
    plain.open_all([("images", paths["plain.png"]), ("videos", clips[0])])
    assert plain.told_differences() is None


def test_a_second_run_opens_nothing(tmp_path: Path) -> None:
    good, bad = odd_pictures(tmp_path)["glass.png"], str(tmp_path / "bad.png")
    Path(bad).write_bytes(b"nothing")
    files = [("images", good), ("images", bad), ("images", str(tmp_path / "gone.png"))]

    def check(view: MediaView) -> MediaCheck:
        found = MediaCheck(view=view, store=VerdictStore(tmp_path / "cache", view))
        found.open_all(files)
        return found

    first, second = check(MediaView()), check(MediaView())
    assert (first.opened, second.opened) == (3, 1)  # a file that is missing may come
    assert second.told_differences() == first.told_differences()
    assert str(second.find_problem("images[0]", "images", bad)) == str(first.find_problem("images[0]", "images", bad))
    assert check(MediaView(image_max_pixels=100)).opened == 3  # seen otherwise
    Image.new("RGB", (8, 8)).save(bad, format="PNG")
    os.utime(bad, ns=(time.time_ns(), time.time_ns() + 1_000_000_000))
    third = check(MediaView())
    assert third.opened == 2
    assert third.find_problem("images[0]", "images", bad) is None


def test_a_cache_that_is_broken_or_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    path = odd_pictures(tmp_path)["plain.png"]
    folder = tmp_path / "cache" / "llamafactory_hind"
    folder.mkdir(parents=True)
    (folder / "media_checks.jsonl").write_text('["half\n[]\nnull\n')
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "cache", tmp_path / "file"):
        check = MediaCheck(store=VerdictStore(cache, MediaView()))
        assert check.find_problem("images[0]", "images", path) is None


def opened_by_a_new_run(cache: Path, *paths: Path | str) -> int:
    check = MediaCheck(workers=2, store=VerdictStore(cache, MediaView()))
    check.open_all([("images", str(path)) for path in paths])
    return check.opened


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    first, cache = tmp_path / "a.png", tmp_path / "cache"
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(first)
    assert opened_by_a_new_run(cache, first) == 1
    os.utime(first, ns=(1, 1))  # touched
    copy, moved = tmp_path / "copy.png", tmp_path / "moved.png"
    shutil.copy(first, copy)
    assert opened_by_a_new_run(cache, first, copy) == 0
    first.rename(moved)
    assert opened_by_a_new_run(cache, moved) == 0
    check = MediaCheck(store=VerdictStore(cache, MediaView()))
    check.open_all([("images", str(copy))])
    assert "1 have transparency" in (check.told_differences() or "")
    # the name of a file may decide how it is read
    assert opened_by_a_new_run(cache, shutil.copy(moved, tmp_path / "a.gif")) == 1


def test_a_bad_file_is_named_where_it_lies(tmp_path: Path) -> None:
    first, cache = tmp_path / "a.png", tmp_path / "cache"
    first.write_bytes(b"no picture")
    assert opened_by_a_new_run(cache, first) == 1
    copy = shutil.copy(first, tmp_path / "b.png")
    check = MediaCheck(store=VerdictStore(cache, MediaView()))
    problem = check.find_problem("images[0]", "images", str(copy))
    assert "a.png" not in str(problem)
    assert opened_by_a_new_run(cache, first, copy) == 0


def test_new_content_of_the_same_size_is_found_though_the_time_was_put_back(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.bmp", tmp_path / "cache"
    Image.new("RGB", (8, 8)).save(path)
    status, size = path.stat(), path.stat().st_size
    assert opened_by_a_new_run(cache, path) == 1
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened_by_a_new_run(cache, path) == 1


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is trusted once a file has rested; a file that changed just now is read again, and not decoded."""
    path, index = tmp_path / "a.png", tmp_path / "digests.jsonl"
    path.write_bytes(b"content")
    read: list[str] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, *rest: (read.append(file.name), real(file, *rest))[1])

    def ask() -> str:
        digests = FileDigests(index)
        found = digests.digest(str(path))
        digests.save()
        return found

    digest = ask()
    assert ask() == digest
    assert len(read) == 2, "changed just now"
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    assert (ask(), ask()) == (digest, digest)
    assert len(read) == 3
    path.write_bytes(b"CONTENT")
    assert ask() != digest
    assert len(read) == 4


def test_a_large_file_is_not_read_for_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    with open(path, "wb") as file:
        file.truncate(LARGE + 1)
    monkeypatch.setattr(hashlib, "file_digest", None)
    digests = FileDigests(tmp_path / "digests.jsonl")
    first = digests.digest(str(path))
    os.utime(path, ns=(1, 1))
    assert digests.digest(str(path)) != first


@pytest.mark.parametrize("name", ["\0", "a\0.png", "\ud800.png", "x" * 5000])
def test_a_name_that_no_file_can_have_is_a_problem_of_its_row(tmp_path: Path, name: str) -> None:
    """With a store of verdicts too, which asks for the file's digest first."""
    store = VerdictStore(tmp_path / "verdicts", MediaView())
    for path in (name, str(tmp_path / name)):
        for kind in ("images", "videos"):
            assert store.find(kind, path) is None
            assert reason_of(kind, path) is not None
