"""One way to see a medium: the host's plugins, which training and the `hf` engine use, see what a server is sent."""

import base64
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from llamafactory.data.mm_plugin import get_mm_plugin
from PIL import Image

from llamafactory_hind.engines.server.data_urls import DataUrls
from llamafactory_hind.formats.media.frames import frame_times, read_frames
from llamafactory_hind.formats.media.host_view import UnreadableMedium, set_way
from shared.media import make_clip, odd_pictures, shades_of, turned


PICTURE_LIMITS = {"image_max_pixels": 768 * 768, "image_min_pixels": 32 * 32}
VIDEO_LIMITS = {"image_max_pixels": 256 * 256, "image_min_pixels": 1, "video_fps": 2.0, "video_maxlen": 128}
PLUGINS = ("base", "qwen2_vl", "qwen3_vl")


def plugin_of(name: str, *, as_host: bool = False) -> Any:
    plugin = get_mm_plugin(name, image_token="<image>", video_token="<video>")
    set_way(plugin, as_host=as_host)
    return plugin


def sent(path: str, **options: Any) -> Image.Image:
    encoder = DataUrls(image_max_pixels=None, video_fps=2.0, video_max_frames=128, **options)
    (url,) = encoder.encode("images", path)
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def seen(plugin: Any, picture: Any) -> Image.Image:
    return plugin._regularize_images([picture], **PICTURE_LIMITS)["images"][0]


@pytest.mark.parametrize("as_host", [False, True])
def test_training_and_a_server_see_the_same_picture(tmp_path: Path, as_host: bool) -> None:
    plugin = plugin_of("qwen2_vl", as_host=as_host)
    for name, path in odd_pictures(tmp_path).items():
        mine, other = seen(plugin, path), sent(path, as_host=as_host)
        assert mine.mode == "RGB"
        assert mine.size == other.size, name
        difference = np.abs(np.asarray(mine, int) - np.asarray(other, int)).max()
        assert difference <= (6 if name.endswith(("jpg", "webp")) else 0), name  # sent as JPEG where they were lossy


def test_what_is_seen_by_hand(tmp_path: Path) -> None:
    """Turned by 6 the dark left is the top; glass that is clear where it is dark is white there; deep grays keep their ramp."""
    paths, plugin = odd_pictures(tmp_path), plugin_of("qwen2_vl")
    upright = np.asarray(seen(plugin, paths["exif.jpg"]))
    assert upright.shape == (84, 60, 3)
    assert upright[0].mean() < 10 < 245 < upright[-1].mean()
    for name in ("glass.png", "gray_glass.png", "glass.webp"):
        glass = np.asarray(seen(plugin, paths[name]))
        assert (glass[:, 0] == 255).all()  # the host alone shows the black below
        assert glass[:, 42].mean() == pytest.approx(255 - 129 + 129 * 129 / 255, abs=2)
    for name in ("deep.png", "deep.tif", "float.tif"):
        assert np.asarray(seen(plugin, paths[name]))[0, ::21, 0].tolist() == pytest.approx([0, 64, 129, 193], abs=2)
    for name in ("pages.tif", "moves.gif", "moves.webp", "moves.png"):
        assert np.asarray(seen(plugin, paths[name]))[:, 0].mean() < 10 < 245  # the first page


def test_bytes_mappings_and_open_pictures_are_seen_alike(tmp_path: Path) -> None:
    path, plugin = odd_pictures(tmp_path)["exif.jpg"], plugin_of("qwen2_vl")
    expected = np.asarray(seen(plugin, path))
    raw = Path(path).read_bytes()
    for medium in (raw, {"bytes": raw, "path": None}, {"bytes": None, "path": path}, Image.open(path)):
        assert np.array_equal(np.asarray(seen(plugin, medium)), expected)


def test_broken_exif_does_not_make_a_picture_bad(tmp_path: Path) -> None:
    Image.new("RGB", (84, 60)).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff broken")
    assert seen(plugin_of("qwen2_vl"), str(tmp_path / "a.jpg")).size == (84, 60)


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_a_video_is_sampled_over_its_whole_length(tmp_path: Path, name: str, ending: str) -> None:
    """5 s: the host alone takes the first 12.8 s of a longer MKV, and of this one every frame."""
    path = make_clip(tmp_path / f"a.{ending}", shades=[number * 5 for number in range(50)])
    found = plugin_of(name)._regularize_videos([path], **VIDEO_LIMITS)
    frames = found["videos"][0]
    assert len(frames) == 10
    assert shades_of(frames) == shades_of(read_frames(path, 2.0, 128))
    assert found["durations"] == pytest.approx([5.0], abs=0.01)
    if name != "base":
        assert found["fps_per_video"] == pytest.approx([2.0], abs=0.01)
        assert [index / 2.0 for index in found["frames_indices"][0]] == pytest.approx(
            [4.9 * place / 9 for place in range(10)], abs=0.01
        )


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize(("most", "least"), [(1000, 1), (1000, 1000), (10**6, 6000), (4096, 4096)])
def test_frames_are_made_smaller_while_they_are_decoded_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int, least: int
) -> None:
    """Exactly what the host makes of a list of the whole frames, which are never in memory together."""
    path = make_clip(tmp_path / "a.mp4", shades=[number * 5 for number in range(50)], size=(80, 48))
    limits = {**VIDEO_LIMITS, "image_max_pixels": most, "image_min_pixels": least}
    plugin = plugin_of(name)
    expected = plugin._regularize_videos([read_frames(path, 2.0, 128)], **limits)["videos"][0]
    sizes: list[tuple[int, int]] = []
    host = plugin._regularize_images
    monkeypatch.setattr(
        plugin,
        "_regularize_images",
        lambda images, **some: sizes.extend(one.size for one in images) or host(images, **some),
    )
    found = plugin._regularize_videos([path], **limits)["videos"][0]
    assert [frame.tobytes() for frame in found] == [frame.tobytes() for frame in expected]
    assert all(width * height <= most for width, height in sizes)


def test_tokens_are_counted_from_the_frames_that_are_seen(tmp_path: Path) -> None:
    """Turned by a flag, the grid of tokens is that of the upright frames."""
    plugin = plugin_of("qwen2_vl")
    path = turned(make_clip(tmp_path / "a.mp4", shades=[200] * 30, size=(64, 32)), 90)
    frames = plugin._regularize_videos([path], **VIDEO_LIMITS)["videos"][0]
    assert {frame.size for frame in frames} == {(32, 64)}
    if hasattr(plugin, "_get_qwen_video_stream_metadata"):  # since 0.9.5
        told = plugin._get_qwen_video_stream_metadata(path, 2.0, 128)
        assert (told["width"], told["height"]) == (32, 64)
        assert len(told["sample_indices"]) == len(frame_times(path, 2.0, 128).ticks) == len(frames) == 6


def test_a_list_of_frames_is_not_made_longer_in_place(tmp_path: Path) -> None:
    path = str(odd_pictures(tmp_path)["plain.png"])
    video = [path] * 3
    found = plugin_of("qwen2_vl")._regularize_videos([video], **VIDEO_LIMITS)
    assert (len(video), len(found["videos"][0]), found["durations"]) == (3, 4, [1.5])


def test_as_host_is_the_host(tmp_path: Path) -> None:
    plugin = plugin_of("qwen2_vl", as_host=True)
    assert seen(plugin, odd_pictures(tmp_path)["exif.jpg"]).size == (84, 60)
    path = make_clip(tmp_path / "a.mkv", shades=[number * 5 for number in range(50)])
    assert len(plugin._regularize_videos([path], **VIDEO_LIMITS)["videos"][0]) == 50
    encoder = DataUrls(image_max_pixels=None, video_fps=2.0, video_max_frames=128, as_host=True)
    assert len(encoder.encode("videos", path)) == 50


def test_a_medium_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    plugin = plugin_of("qwen2_vl")
    with pytest.raises(UnreadableMedium, match=r"images: got .*a\.png', expected a readable medium: Unidentified"):
        seen(plugin, str(tmp_path / "a.png"))
    with pytest.raises(UnreadableMedium, match=r"videos: got .*a\.png'"):
        plugin._regularize_videos([str(tmp_path / "a.png")], **VIDEO_LIMITS)


def test_a_plugin_that_opens_files_itself_gets_the_numbers_of_our_frames(tmp_path: Path) -> None:
    """5 s of an MKV at 2 a second: 10 of 50, the first and the last among them; the host alone answers 0 to 127."""
    path = make_clip(tmp_path / "a.mkv", shades=[number * 5 for number in range(50)])
    with av.open(path) as container:
        (stream,) = container.streams.video
        found = plugin_of("base")._get_video_sample_indices(stream, video_fps=2.0, video_maxlen=128)
        host = plugin_of("base", as_host=True)._get_video_sample_indices(stream, video_fps=2.0, video_maxlen=128)
    assert found.tolist() == [49 * place // 9 for place in range(10)]
    assert len(host) == 128
