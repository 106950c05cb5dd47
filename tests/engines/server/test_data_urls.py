"""Media as data URLs: what is sent is what a careful viewer sees, and files that need no change stay as they are."""

import asyncio
import base64
import io
import math
import struct
import threading
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from llamafactory_hind.engines.server.data_urls import DataUrls
from llamafactory_hind.formats.media.frames import pick_times, read_frames


def encoder(**options: object) -> DataUrls:
    return DataUrls(**{"image_max_pixels": None, "video_fps": 1.0, "video_max_frames": 16, **options})


def get(medium: object, kind: str = "images", **options: object) -> list[tuple[str, bytes]]:
    """Return (subtype, bytes) of each URL."""
    found = []
    for url in asyncio.run(encoder(**options).get(kind, medium)):
        head, _, content = url.partition(";base64,")
        found.append((head.removeprefix("data:image/"), base64.b64decode(content, validate=True)))
    return found


def decode(medium: object, **options: object) -> Image.Image:
    ((_, content),) = get(medium, **options)
    return Image.open(io.BytesIO(content))


def save(image: Image.Image, path: Path, **options: object) -> str:
    image.save(path, **options)
    return str(path)


@pytest.fixture
def photo() -> Image.Image:
    """A 60 x 40 gradient, dark at the left, so that a turn shows."""
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (40, 1))] * 3, axis=-1))


@pytest.mark.parametrize(("ending", "subtype"), [("jpg", "jpeg"), ("png", "png")])
def test_a_file_within_the_limit_stays_byte_for_byte(
    tmp_path: Path, photo: Image.Image, ending: str, subtype: str
) -> None:
    path = save(photo, tmp_path / f"a.{ending}")
    raw = Path(path).read_bytes()
    for medium in (path, Path(path), raw, {"bytes": None, "path": path}, {"bytes": raw, "path": None}):
        assert get(medium, image_max_pixels=60 * 40) == [(subtype, raw)]
    assert (
        get(save(photo.convert("L"), tmp_path / f"gray.{ending}"))[0][1] == (tmp_path / f"gray.{ending}").read_bytes()
    )


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_larger_one_shrinks_to_the_hosts_size(tmp_path: Path, photo: Image.Image, ending: str) -> None:
    from llamafactory.data.mm_plugin import BasePlugin

    path = save(photo, tmp_path / f"a.{ending}")
    mine = decode(path, image_max_pixels=1000)
    host = BasePlugin(None, None, None)._preprocess_image(Image.open(path), image_max_pixels=1000, image_min_pixels=1)
    assert mine.format == {"jpg": "JPEG", "png": "PNG"}[ending]
    assert mine.size == host.size == (38, 25)
    assert mine.width * mine.height <= 1000
    assert np.abs(np.asarray(mine, int) - np.asarray(host, int)).max() <= (4 if ending == "jpg" else 0)


def test_exif_orientation_is_honoured(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright: the dark left becomes the top
    for ending in ("jpg", "png"):
        seen = decode(save(photo, tmp_path / f"a.{ending}", exif=exif))
        assert seen.size == (40, 60)
        assert seen.getpixel((20, 2))[0] < 20 < 235 < seen.getpixel((20, 57))[0]
        assert seen.getexif().get(0x0112, 1) == 1, "a server that honours it must not turn it again"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "La", "RGBa"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    """Left half opaque black, right half nothing at all (black below it, as most tools write)."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 4))
    if mode == "P":
        palette = Image.new("P", (8, 4), 1)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(0, (0, 0, 4, 4))
        medium: object = save(palette, tmp_path / "a.png", transparency=1)
    elif mode in ("RGBA", "LA"):
        medium = save(image.convert(mode), tmp_path / "a.png")
    else:
        straight = image.convert({"La": "LA", "PA": "P", "RGBa": "RGBA"}[mode])  # the ways Pillow has to these modes
        medium = straight.convert(mode)
    seen = decode(medium)
    assert (seen.format, seen.mode) == ("PNG", "RGB")
    assert seen.getpixel((1, 1)) == (0, 0, 0)
    assert seen.getpixel((6, 1)) == (255, 255, 255)


def test_a_transparent_color_key_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4), (0, 0, 0))
    image.paste((9, 9, 9), (0, 0, 4, 4))
    seen = decode(save(image, tmp_path / "a.png", transparency=(0, 0, 0)))
    assert [seen.getpixel(place) for place in ((1, 1), (6, 1))] == [(9, 9, 9), (255, 255, 255)]


def test_palette_cmyk_and_one_bit_become_rgb(tmp_path: Path, photo: Image.Image) -> None:
    palette = decode(save(photo.quantize(64), tmp_path / "a.png"))
    cmyk = decode(save(photo.convert("CMYK"), tmp_path / "a.jpg", quality=95))
    bits = decode(save(photo.convert("1"), tmp_path / "b.png"))
    gif = decode(save(photo, tmp_path / "a.gif"))
    webp = decode(save(photo, tmp_path / "a.webp", lossless=True))
    assert [(image.format, image.mode) for image in (palette, cmyk, bits, gif, webp)] == [
        ("PNG", "RGB"),
        ("JPEG", "RGB"),
        ("PNG", "RGB"),
        ("PNG", "RGB"),
        ("JPEG", "RGB"),
    ]
    for image in (palette, cmyk, gif, webp):
        assert np.abs(np.asarray(image, int) - np.asarray(photo, int)).mean() < 6


@pytest.mark.parametrize(("top", "kind"), [(65535, "png"), (65535, "tiff"), (4095, "png")])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path, top: int, kind: str) -> None:
    """A gray of v in 65535 is seen as v / 257: a twelve-bit picture stays dark, its order stays."""
    values = np.linspace(0, top, 64).astype(np.uint16)[None].repeat(4, 0)
    seen = np.asarray(decode(save(Image.fromarray(values), tmp_path / f"a.{kind}")))
    assert np.abs(seen[..., 0] - values / 257).max() <= 1


@pytest.mark.parametrize(("low", "top"), [(0.0, 1.0), (-3.0, 5.0)])
def test_floats_use_the_range_they_have(tmp_path: Path, low: float, top: float) -> None:
    values = np.linspace(low, top, 64, dtype=np.float32)[None].repeat(4, 0)
    seen = np.asarray(decode(save(Image.fromarray(values), tmp_path / "a.tiff")))
    assert np.abs(seen[..., 0] - (values - low) / (top - low) * 255).max() <= 1


def test_a_sixteen_bit_color_png_becomes_eight(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 65535, 0) for _ in range(2))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    raw = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    ((_, content),) = get(raw)
    assert content[24] == 8
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (255, 0, 0)


def test_an_animation_shows_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for ending in ("gif", "png", "webp"):
        seen = decode(save(frames[0], tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:]))
        assert np.abs(np.subtract(seen.getpixel((4, 4)), (255, 0, 0))).max() < 8, ending
        assert not getattr(seen, "is_animated", False)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = save(Image.new("1", (20000, 20000)), tmp_path / "bomb.png")
    assert Path(path).stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb.png.*decompression bomb"):
        get(path, image_max_pixels=1000)


def test_what_cannot_be_read_is_named(tmp_path: Path, photo: Image.Image) -> None:
    whole = Path(save(photo.resize((600, 400)), tmp_path / "a.jpg")).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    for name, reason in (("cut.jpg", "truncated"), ("text.jpg", "cannot identify"), ("none.jpg", "No such file")):
        with pytest.raises(ValueError, match=rf"images: got '.*{name}'.*{reason}.*Correct the path") as error:
            get(str(tmp_path / name))
        assert error.value.__cause__ is None
    for medium in (b"no picture", None, "", 7, {"bytes": None, "path": None}):
        with pytest.raises(ValueError, match="images: got"):
            get(medium)
    for medium in (b"no video", str(tmp_path / "none.mp4"), [], [b"no picture"], None):
        with pytest.raises(ValueError, match="videos: got"):
            get(medium, "videos")


@pytest.mark.parametrize(
    "name",
    [
        "image_max_pixels",
        "image_min_pixels",
        "video_max_pixels",
        "video_min_pixels",
        "video_fps",
        "video_max_frames",
    ],
)
def test_numbers_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 0"):
        encoder(**{name: 0})


class Counting(DataUrls):
    """Notes what is encoded, and where."""

    def encode(self, kind: str, medium: object) -> tuple[str, ...]:
        self.encoded = [*getattr(self, "encoded", []), medium]
        self.threads = {*getattr(self, "threads", set()), threading.get_ident()}
        return super().encode(kind, medium)


def test_a_file_is_encoded_once_and_never_in_the_event_loop(tmp_path: Path, photo: Image.Image) -> None:
    paths = [save(photo, tmp_path / f"{number}.png") for number in range(3)]

    async def ask(urls: Counting, wanted: list[str]) -> list[tuple[str, ...]]:
        at_once = await asyncio.gather(*(urls.get("images", path) for path in wanted))
        return [*at_once, *[await urls.get("images", path) for path in wanted]]

    options = {"image_max_pixels": None, "video_fps": 1.0, "video_max_frames": 16}
    roomy = Counting(**options)
    found = asyncio.run(ask(roomy, [*paths, *paths]))
    assert sorted(roomy.encoded) == paths
    assert found[:3] == found[3:6] == found[6:9]
    assert threading.get_ident() not in roomy.threads
    # room for one and a half: the one used least recently goes first
    tight = Counting(**options, cache_characters=len(found[0][0]) * 3 // 2)
    asyncio.run(ask(tight, [paths[0]]))
    asyncio.run(ask(tight, [paths[1]]))
    asyncio.run(ask(tight, [paths[1]]))
    asyncio.run(ask(tight, [paths[0]]))
    assert tight.encoded == [paths[0], paths[1], paths[0]]
    assert tight._cached <= tight.cache_characters


def test_a_failure_is_not_remembered_and_reaches_all_who_wait(tmp_path: Path, photo: Image.Image) -> None:
    async def ask() -> tuple[list[object], tuple[str, ...]]:
        urls, path = encoder(), tmp_path / "late.png"
        failed = await asyncio.gather(*(urls.get("images", str(path)) for _ in range(3)), return_exceptions=True)
        photo.save(path)
        return failed, await urls.get("images", str(path))

    failed, found = asyncio.run(ask())
    assert [type(error) for error in failed] == [ValueError] * 3
    assert len(found) == 1


def make_video(path: Path, *, frames: int, rate: int, gop: int, codec: str = "libx264") -> str:
    """Frame i is gray, i * 2 bright; with B frames where the codec has them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "1"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        for number in range(frames):
            picture = np.full((64, 64, 3), number * 2, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return str(path)


def numbers(frames: list[Image.Image]) -> list[int]:
    return [round(float(np.asarray(frame, float).mean()) / 2) for frame in frames]


def decode_whole(path: str) -> list[np.ndarray]:
    with av.open(path) as container:
        return [np.asarray(frame.to_image()) for frame in container.decode(video=0)]


@pytest.mark.parametrize("gop", [5, 250])
@pytest.mark.parametrize(
    ("fps", "most", "count"),
    [(1.0, 16, 5), (2.0, 16, 10), (2.0, 4, 4), (0.1, 16, 1), (100.0, 200, 100), (1.0, 1, 1)],
)
def test_frames_are_those_the_host_takes(tmp_path: Path, gop: int, fps: float, most: int, count: int) -> None:
    """5 s at 20 frames a second: frames at the whole part of i * 99 / (count - 1), as the host's linspace."""
    path = make_video(tmp_path / "a.mp4", frames=100, rate=20, gop=gop)
    expected = [math.floor(i * 99 / (count - 1)) if count > 1 else 0 for i in range(count)]
    whole = decode_whole(path)
    found = read_frames(path, fps, most)
    assert len(found) == count
    for frame, number in zip(found, expected, strict=True):
        assert np.array_equal(np.asarray(frame), whole[number])


def test_frames_of_the_worlds_clips_equal_the_hosts(small_world: Path) -> None:
    from llamafactory.data.mm_plugin import BasePlugin

    class Processor:
        video_max_pixels, video_min_pixels, video_fps, video_maxlen = 10**9, 1, 2.0, 6

    plugin = BasePlugin("<image>", "<video>", None)
    for path in sorted((small_world / "clips").glob("*.mp4"))[:3]:
        host = plugin._regularize_videos(
            [str(path)], image_max_pixels=10**9, image_min_pixels=1, video_fps=2.0, video_maxlen=6
        )["videos"][0]
        mine = read_frames(str(path), 2.0, 6)
        assert len(mine) == len(host) > 1
        for frame, expected in zip(mine, host, strict=True):
            assert np.array_equal(np.asarray(frame), np.asarray(expected.convert("RGB")))


def test_a_stream_without_an_index_is_read_as_well(tmp_path: Path) -> None:
    """Seeking in it lands behind the place asked for; then all is decoded. 2 s at 2 a second: 4 of 40."""
    path = make_video(tmp_path / "a.ts", frames=40, rate=20, gop=10, codec="mpeg2video")
    whole = decode_whole(path)
    found = read_frames(path, 2.0, 16)
    assert len(found) == 4
    for frame, number in zip(found, (0, 13, 26, 39), strict=True):
        assert np.array_equal(np.asarray(frame), whole[number])


def test_seeking_skips_what_lies_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", frames=120, rate=20, gop=10)
    whole = decode_whole(path)
    monkeypatch.setattr("llamafactory_hind.formats.media.frames._decode_all", None)
    found = read_frames(path, 0.5, 16)
    for frame, number in zip(found, (0, 59, 119), strict=True):
        assert np.array_equal(np.asarray(frame), whole[number])


def test_a_video_that_is_cut_gives_what_it_has(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", frames=40, rate=20, gop=10, codec="mpeg2video")
    raw = Path(path).read_bytes()
    assert 1 <= len(read_frames(raw[: len(raw) // 2], 2.0, 16)) < 4


@pytest.mark.parametrize(
    ("times", "count", "expected"),
    [
        ([0, 10, 20, 30], 2, [0, 30]),
        ([0, 10, 20, 30], 4, [0, 10, 20, 30]),
        ([0, 1, 2, 100], 3, [0, 2, 100]),  # uneven: 50 is still the frame of 2
        ([0, 1, 2, 100], 5, [0, 2, 2, 2, 100]),  # and of 25, 50 and 75: it is that long on the screen
        ([7], 1, [7]),
        ([7, 9], 1, [7]),
    ],
)
def test_times_by_hand(times: list[int], count: int, expected: list[int]) -> None:
    assert pick_times(times, count) == expected


def test_a_video_becomes_its_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=60, rate=20, gop=20)
    found = get(path, "videos", video_fps=1.0, image_max_pixels=1024)
    assert [subtype for subtype, _ in found] == ["jpeg"] * 3
    pictures = [Image.open(io.BytesIO(content)) for _, content in found]
    assert [picture.size for picture in pictures] == [(32, 32)] * 3
    assert np.abs(np.subtract(numbers(pictures), [0, 29, 59])).max() <= 1
    assert get(Path(path).read_bytes(), "videos", video_fps=1.0, image_max_pixels=1024) == found


@pytest.mark.parametrize("limits", [(400, 1), (100_000, 9000)], ids=["smaller", "larger"])
def test_frames_have_the_size_that_the_host_gives_them(tmp_path: Path, limits: tuple[int, int]) -> None:
    """And keep the limits of frames where pictures have others."""
    from llamafactory.data.mm_plugin import BasePlugin

    path = make_video(tmp_path / "a.mp4", frames=40, rate=20, gop=20)
    host = BasePlugin("<image>", "<video>", None)._regularize_videos(
        [path], image_max_pixels=limits[0], image_min_pixels=limits[1], video_fps=1.0, video_maxlen=16
    )["videos"][0]
    options = {"video_max_pixels": limits[0], "video_min_pixels": limits[1], "image_max_pixels": 50}
    found = get(path, "videos", video_fps=1.0, **options)
    assert [Image.open(io.BytesIO(content)).size for _, content in found] == [frame.size for frame in host]
    one = save(Image.new("RGB", (64, 64)), tmp_path / "1.png")
    ((_, content),) = get([one], "videos", **options)
    assert (
        Image.open(io.BytesIO(content)).size
        == BasePlugin("<image>", "<video>", None)
        ._preprocess_image(Image.open(one), image_max_pixels=limits[0], image_min_pixels=limits[1])
        .size
    )


def test_a_list_of_pictures_is_a_video(tmp_path: Path) -> None:
    paths = [save(Image.new("RGB", (4, 4), (number, 0, 0)), tmp_path / f"{number}.png") for number in range(7)]
    assert [content for _, content in get(paths, "videos")] == [Path(path).read_bytes() for path in paths]
    assert [content for _, content in get(paths, "videos", video_max_frames=3)] == [
        Path(paths[number]).read_bytes() for number in (0, 3, 6)
    ]
