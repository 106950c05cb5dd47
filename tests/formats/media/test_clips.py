"""Clips of real files: the frames between two seconds and no others, whatever container, codec or frame rate."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.formats.media.check import MediaCheck
from llamafactory_hind.formats.media.clip_problems import ClipProblem
from llamafactory_hind.formats.media.clips import Clip, sample_positions
from llamafactory_hind.formats.media.verdicts import VerdictStore
from llamafactory_hind.formats.media.view import MediaView
from llamafactory_hind.storage.clip_names import ClipName, folder_of, is_clip, parse_clip
from llamafactory_hind.storage.digests import digest_path
from shared.videos import TENTHS, all_frames, frame_picture, turn, write_sound, write_video


FILES = [("a.mp4", "libx264"), ("b.mp4", "mpeg4"), ("c.mkv", "libx264"), ("d.avi", "mpeg4"), ("e.webm", "libvpx")]
SPANS = [("0", None), ("1", "2.5"), ("1.1", "1.2"), ("3.33", "7"), ("9.55", "10.3"), ("0.05", "0.99")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five files of ten seconds, ten frames a second."""
    made = tmp_path_factory.mktemp("clips")
    for name, codec in FILES:
        write_video(made / name, codec=codec)
    return made


def shown(clip: Clip, positions: list[int]) -> list[bytes]:
    return [image.tobytes() for image in clip.images(positions)]


@pytest.mark.parametrize("name", [name for name, _ in FILES])
@pytest.mark.parametrize(("start", "end"), SPANS)
def test_frames_are_those_of_a_full_decode(folder: Path, name: str, start: str, end: str | None) -> None:
    """By twin: decode all, keep start <= t < end."""
    low, high = Fraction(start), Fraction(end or 1000)
    whole = [image.tobytes() for time, image in all_frames(folder / name) if low <= round(Fraction(time), 3) < high]
    clip = Clip(f"{folder / name}#t={start},{end or ''}")
    assert clip.count == len(whole)
    assert shown(clip, list(range(clip.count))) == whole
    assert clip.seconds == Fraction(len(whole), 10)
    some = clip.sample(2.0, 128)
    assert shown(clip, some) == [whole[position] for position in some]


def test_a_clip_between_two_frames_shows_the_one_on_the_screen(folder: Path) -> None:
    clip = Clip(f"{folder / 'a.mp4'}#t=1.02,1.05")
    assert [clip.index(position) for position in clip.sample()] == [10]


def test_times_are_exact_decimals(folder: Path) -> None:
    """1.1 is eleven tenths: the frame at 33/30 s = 1.1 s is in, although the float 1.1 is a little more."""
    clip = Clip(f"{folder / 'a.mp4'}#t=1.1,1.3")
    assert clip.record(range(clip.count)) == {"indices": [11, 12], "seconds": [1.1, 1.2]}


def test_sampling_is_the_rule_of_the_host() -> None:
    """By hand: 5 s at 2 a second are 10 of 50 frames, 0 to 49 in steps of 49 / 9, rounded down."""
    assert sample_positions(50, 5.0, 2.0, 128) == [0, 5, 10, 16, 21, 27, 32, 38, 43, 49]
    assert sample_positions(50, 5.0, 2.0, 4) == [0, 16, 32, 49]  # `video_maxlen`
    assert sample_positions(50, 0.4, 2.0, 128) == [0]  # one at least
    assert sample_positions(3, 5.0, 2.0, 128) == [0, 1, 2]  # no frame twice


def test_varying_rate_is_sampled_evenly_in_time(tmp_path: Path) -> None:
    """Ten frames in the first second, then one that stays for nine: at each second, the frame on the screen."""
    times = [*TENTHS[:10], Fraction(1), Fraction(10)]
    clip = Clip(f"{write_video(tmp_path / 'v.mp4', times)}#t=0,10")
    assert not clip.is_steady
    assert clip.rate == 10  # of the shortest gap
    positions = clip.sample(1.0, 128)
    assert len(positions) == 10
    assert [clip.index(position) for position in positions] == [0, *[10] * 9]
    record = clip.record(positions)
    assert record["seconds"][0] == 0.0
    again = Clip(named(clip, **record))
    assert again.sample() == positions


def test_a_still_frame_is_shown_in_a_span_in_which_none_begins(tmp_path: Path) -> None:
    file = write_video(tmp_path / "v.mp4", [Fraction(0), Fraction(1, 10), Fraction(9)])
    clip = Clip(f"{file}#t=4,6")
    assert {clip.index(position) for position in clip.sample()} == {1}


def named(clip: Clip, **record: Any) -> ClipName:
    """Return the name of a clip with recorded frames."""
    seconds = tuple(str(second) for second in record["seconds"])
    return ClipName(clip.name.source, clip.name.start, clip.name.end, tuple(record["indices"]), seconds)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_flag_is_obeyed(tmp_path: Path, degrees: int) -> None:
    """The blue corner, top left in the file, is where a player shows it; the size is that of the upright picture."""
    file = turn(write_video(tmp_path / "v.mp4", TENTHS[:5]), degrees)
    clip = Clip(f"{file}#t=0,")
    (image,) = clip.images([0])
    assert image.size == clip.size == ((48, 64) if degrees != 180 else (64, 48))
    corners = {90: (-4, 3), 180: (-4, -4), 270: (3, -4)}[degrees]  # top right, bottom right, bottom left
    place = tuple(value % side for value, side in zip(corners, image.size, strict=True))
    assert image.getpixel(place)[2] > 150
    assert image.getpixel((3, 3))[2] < 100


def test_a_file_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipProblem, match="a file with a video stream"):
        Clip(f"{write_sound(tmp_path / 'sound.mp4')}#t=0,")


def test_a_broken_tail_is_named_where_the_span_needs_it(tmp_path: Path) -> None:
    """A file cut in the middle, its index in front: a span before the cut works, one behind it is a named problem."""
    options = {"g": "10", "bf": "0", "crf": "18"}
    file = write_video(tmp_path / "v.mkv", options=options)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    check = MediaCheck()
    assert check.find_problem("videos[0]", "videos", f"{file}#t=0,1") is None
    problem = check.find_problem("videos[0]", "videos", f"{file}#t=8,9")
    assert problem is not None
    assert problem.field == "start"
    problem = check.find_problem("videos[0]", "videos", f"{file}#t=1,9")
    assert problem is not None
    assert problem.field == "end"


@pytest.mark.parametrize(
    ("span", "field", "says"),
    [
        ("12,13", "start", "got 12 s, expected less than 10 s"),
        ("2,13", "end", "got 13 s, expected at most 10 s"),
        ("3,2", "end", "got 2 s, expected more than `start`, 3 s"),
        ("3,3", "end", "expected more than `start`"),
    ],
)
def test_a_span_that_is_not_in_the_file_is_named(folder: Path, span: str, field: str, says: str) -> None:
    problem = MediaCheck().find_problem("videos[0]", "videos", f"{folder / 'a.mp4'}#t={span}")
    assert problem is not None
    assert problem.field == field
    assert says in f"got {problem.got}, expected {problem.expected}"


def test_an_end_that_is_rounded_up_is_the_end_of_the_file(folder: Path) -> None:
    assert Clip(f"{folder / 'a.mp4'}#t=9.5,10.4").count == 5


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    problem = MediaCheck().find_problem("videos[0]", "videos", f"{tmp_path / 'none.mp4'}#t=0,1")
    assert problem is not None
    assert problem.field == "videos[0]"
    assert "does not exist" in problem.remedy


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Twelve pictures, whose natural order is not that of their letters."""
    made = []
    for number in range(12):
        Image.fromarray(frame_picture(number)).save(tmp_path / f"f{number}.png")
        made.append(str(tmp_path / f"f{number}.png"))
    return made


def test_a_folder_is_like_a_file(pictures: list[str]) -> None:
    folder = str(Path(pictures[0]).parent)
    clip = Clip(ClipName(folder, "1", "3", fps="4"))
    assert clip.count == 8
    assert clip.record(clip.sample(2.0)) == {"indices": [4, 6, 8, 11], "seconds": [1.0, 1.5, 2.0, 2.75]}
    assert shown(clip, [0]) == [frame_picture(4).tobytes()]
    with pytest.raises(ClipProblem, match="fps"):
        Clip(ClipName(folder))


def test_a_list_is_like_a_file_in_its_own_order(pictures: list[str]) -> None:
    source, names = folder_of([pictures[3], pictures[1], pictures[3]])
    clip = Clip(str(ClipName(source, fps="2", pictures=names)))
    assert shown(clip, [0, 1, 2]) == [frame_picture(number).tobytes() for number in (3, 1, 3)]


def test_recorded_frames_are_sampled_whatever_the_keys_say(folder: Path) -> None:
    clip = Clip(f"{folder / 'a.mp4'}#t=1,3&n=11,14,19&s=1.1,1.4,1.9")
    assert clip.sample(2.0, 128) == clip.sample(0.1, 128) == [1, 4, 9]
    assert clip.sample(2.0, 2) == [1, 9]  # `video_maxlen` bounds memory: thinned out evenly
    assert Clip(f"{folder / 'a.mp4'}#t=1,3&n=11,14,19").sample() == [1, 4, 9]
    assert Clip(f"{folder / 'a.mp4'}#t=1,3&s=1.1,1.4,1.9").sample() == [1, 4, 9]


@pytest.mark.parametrize("part", ["n=11,40&s=1.1,4.0", "n=11,14&s=1.1,1.9", "n=9", "s=3.0"])
def test_frames_of_another_file_or_span_are_named(folder: Path, part: str) -> None:
    with pytest.raises(ClipProblem, match="remove `frames`"):
        Clip(f"{folder / 'a.mp4'}#t=1,3&{part}")


def test_shuffled_frames_are_the_same_frames(folder: Path) -> None:
    ordered, shuffled = Clip(f"{folder / 'a.mp4'}#t=0,5"), Clip(f"{folder / 'a.mp4'}#t=0,5&shuffle=3")
    positions = ordered.sample()
    assert shuffled.sample() == positions
    assert shown(shuffled, positions) != shown(ordered, positions)
    assert sorted(shown(shuffled, positions)) == sorted(shown(ordered, positions))
    assert shown(shuffled, positions) == shown(Clip(str(shuffled.name)), positions)


@pytest.mark.parametrize(
    "name",
    [
        ClipName("a b/v#1.mp4", "1.5", "7"),
        ClipName("v.mp4", "0", None, (1, 2), ("0.1", "0.2"), None, (), 7),
        ClipName("frames", "0", "2", fps="4", pictures=("a&b.png", "c,d#.png")),
    ],
)
def test_names_are_read_as_they_are_written(name: ClipName) -> None:
    assert parse_clip(str(name)) == name


@pytest.mark.parametrize("name", ["v.mp4", "a#t=1.mp4", "v.mp4#t=x,2", "v.mp4#t=1", None, b"x"])
def test_other_names_are_no_clips(name: Any) -> None:
    assert not is_clip(name)


def test_the_digest_of_a_clip_is_of_its_content_and_part(folder: Path, tmp_path: Path) -> None:
    first, second = f"{folder / 'a.mp4'}#t=1,2", f"{folder / 'a.mp4'}#t=1,3"
    moved = tmp_path / "other.mp4"
    moved.write_bytes((folder / "a.mp4").read_bytes())
    assert digest_path(first) == digest_path(f"{moved}#t=1,2")
    assert len({digest_path(first), digest_path(second), digest_path(f"{folder / 'b.mp4'}#t=1,2")}) == 3


def test_a_good_clip_is_looked_at_once_over_all_runs(folder: Path, tmp_path: Path) -> None:
    """Another span, or another file at the same path, is looked at; so is a bad clip, whose problem has parts."""
    file = tmp_path / "v.mp4"
    file.write_bytes((folder / "a.mp4").read_bytes())

    def opened(name: str) -> int:
        check = MediaCheck(store=VerdictStore(tmp_path / "cache", MediaView()))
        check.open_all([("videos", name)])
        return check.opened

    assert [opened(f"{file}#t={span}") for span in ("1,2", "1,2", "1,3")] == [1, 0, 1]
    assert [opened(f"{file}#t=2,30") for _ in range(2)] == [1, 1]
    file.write_bytes((folder / "b.mp4").read_bytes())
    assert opened(f"{file}#t=1,2") == 1
