"""What a medium is called, by hand: content, shape, and the letters that seeds hang on."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from llamafactory_hind.engines.interface import Request
from llamafactory_hind.engines.seeds import random_keys
from llamafactory_hind.storage.digests import digest_media, digest_path, medium_name


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_bytes_paths_clips_and_mappings_are_named_part_by_part(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"abc")
    assert medium_name(b"abc") == sha256(b"abc")
    assert medium_name(str(file)) == digest_path(str(file)) != str(file)
    assert medium_name(str(file), path=str) == str(file)
    assert medium_name([b"abc", ("x", b"d")], path=str) == [sha256(b"abc"), ["x", sha256(b"d")]]
    assert medium_name({"path": None, "bytes": b"abc"}) == {"path": "None", "bytes": sha256(b"abc")}
    assert digest_media({"images": [b"abc"], "videos": [[b"d"]]}) == [sha256(b"abc"), [sha256(b"d")]]


def test_pictures_of_equal_pixels_differ_by_size_and_mode_unless_only_pixels_count() -> None:
    pictures = [Image.new("RGB", (2, 6)), Image.new("RGB", (6, 2)), Image.new("L", (6, 6))]
    assert len({picture.tobytes() for picture in pictures}) == 1
    assert len({medium_name(picture) for picture in pictures}) == 3
    assert {medium_name(picture, shaped=False) for picture in pictures} == {sha256(bytes(36))}


PICTURE = Image.new("RGB", (1, 1), (1, 2, 3))
PIXELS = sha256(bytes([1, 2, 3]))


@pytest.mark.parametrize(
    ("medium", "name"),
    [
        ("no such/a.png", "no such/a.png"),
        (PICTURE, PIXELS),
        (b"abc", sha256(b"abc")),
        ([PICTURE, "b.png"], repr([PIXELS, "b.png"])),
        (["a", ["b"]], repr(["a", repr(["b"])])),
        ({"path": "a", "bytes": None}, repr({"path": "a", "bytes": "None"})),
    ],
)
def test_seeds_hang_on_these_letters(medium: object, name: str) -> None:
    """A request without a key draws the numbers of `sha256(repr((messages, system, media)))`; another text would be another run."""
    messages = [{"role": "user", "content": "q"}]
    request = Request(messages, images=[medium], system="s")
    assert random_keys([request]) == [sha256(repr((messages, "s", [[name], [], []])).encode()) + "/0"]
