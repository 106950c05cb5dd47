"""The one sampler of videos: what is seen depends on times in the file, not on what its header says."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from llamafactory_hind.formats.media.frames import frame_times, read_frames
from llamafactory_hind.formats.media.video_index import index_video
from shared.media import SIDE, make_clip, shades_of, turned


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov", "ts"])
def test_every_container_is_sampled_over_its_whole_length(tmp_path: Path, ending: str) -> None:
    """24 frames in 2.4 s at 2 a second: 4, at 0, 23/3, 46/3 and 23 of them: numbers 0, 7, 15, 23, shades of 10 each."""
    path = make_clip(tmp_path / f"a.{ending}", shades=[number * 10 for number in range(24)])
    seen = frame_times(path, 2.0, 128)
    assert shades_of(read_frames(path, 2.0, 128)) == [0, 70, 150, 230]
    assert seen.duration == pytest.approx(2.4, abs=0.01)
    assert seen.seconds == pytest.approx([0, 2.3 / 3, 4.6 / 3, 2.3], abs=0.002)
    assert seen.size == (SIDE, SIDE)
    assert shades_of(read_frames(Path(path).read_bytes(), 2.0, 3)) == [0, 110, 230]


def test_a_file_without_times_is_counted(tmp_path: Path) -> None:
    """A bare MPEG-4 stream: 8 frames, at the rate that its header names."""
    path = make_clip(tmp_path / "a.m4v", shades=[number * 30 for number in range(8)])
    assert shades_of(read_frames(path, 100.0, 3)) == [0, 90, 210]


def test_a_rate_that_varies_is_sampled_by_time(tmp_path: Path) -> None:
    """One picture for 9 s, then ten in a second: of 11 frames at 1 a second, nearly all show the first."""
    path = make_clip(tmp_path / "a.mp4", shades=[200, *range(10, 110, 10)], ticks=[0, *range(90, 100)])
    assert not index_video(path).is_steady
    seen = frame_times(path, 1.0, 128)
    assert shades_of(read_frames(path, 1.0, 128)) == [200] * 9 + [100]
    assert seen.seconds == pytest.approx([9.9 * place / 9 for place in range(10)], abs=0.01)


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, 0)), (180, (-1, 0)), (270, (-1, -1))])
def test_a_rotation_flag_turns_the_frames(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    """64 x 32, dark at the left: turned clockwise by 90 the dark half is at the top, by 180 right, by 270 at the bottom."""
    path = turned(make_clip(tmp_path / "a.mp4", shades=[200] * 4, size=(64, 32)), degrees)
    (frame, *_) = read_frames(path, 2.0, 8)
    assert frame.size == frame_times(path, 2.0, 8).size == ((64, 32) if degrees == 180 else (32, 64))
    pixels = np.asarray(frame).mean(2)
    assert pixels[corner] == pytest.approx(100, abs=6) or degrees == 180
    dark = {90: pixels[:20], 180: pixels[:, 40:], 270: pixels[-20:]}[degrees]
    light = {90: pixels[-20:], 180: pixels[:, :20], 270: pixels[:20]}[degrees]
    assert dark.mean() < 110 < 190 < light.mean()


def test_a_part_of_a_file(tmp_path: Path) -> None:
    """Seconds 0.5 to 1.5 of 2.4 at 10 a second are frames 5 to 14; at 2 a second two: the first and the last."""
    path = make_clip(tmp_path / "a.mkv", shades=[number * 10 for number in range(24)])
    assert shades_of(read_frames(path, 2.0, 128, 0.5, 1.5)) == [50, 140]
    assert shades_of(read_frames(path, 2.0, 128, 2.0)) == [200]
    assert shades_of(read_frames(path, 2.0, 128, None, 0.55)) == [0]
    assert shades_of(read_frames(path, 100.0, 128, 0.42, 0.45)) == [40]  # no frame begins there: the one on the screen
    assert frame_times(path, 2.0, 128, 2.0, 9.0).duration == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("ending", ["gif", "webm"])
def test_animations_and_web_videos(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "gif":
        frames = [Image.new("L", (SIDE, SIDE), number * 10) for number in range(24)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    else:
        make_clip(path, shades=[number * 10 for number in range(24)], codec="libvpx")
    assert shades_of(read_frames(str(path), 2.0, 128)) == [0, 70, 150, 230]


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="it has no video stream"):
        read_frames(str(sound), 2.0, 8)
    for name, content in (("empty.mp4", b""), ("text.mp4", b"<html>404</html>" * 40)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises((OSError, ValueError)):
            read_frames(str(tmp_path / name), 2.0, 8)


def test_a_frame_too_large_to_be_real_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", shades=[1, 2])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE // 2 - 1)
    with pytest.raises(ValueError, match="32 x 32 pixels"):
        read_frames(path, 2.0, 8)
