"""Bad rows: the error names file, row and field; skipped ones are counted and written down; no cache hides one."""

import io
import json
import os
import random
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from datasets.exceptions import DatasetGenerationError
from PIL import Image

from llamafactory_hind.config.problem import show
from llamafactory_hind.formats.align.dataset import align_dataset
from llamafactory_hind.formats.problems import BadRowsError
from shared.formats import FormatSetup, picture, write_rows


GOOD = {
    "id": "g",
    "images": ["a.png"],
    "videos": [],
    "audios": [],
    "question": "What?",
    "answer": "moss",
    "choices": ["x"],
    "cot": ["one"],
    "knowledge": ["fact"],
    "chosen": "c",
    "rejected": "r",
    "chosen_confidence": -1.0,
    "rejected_confidence": -0.5,
}
PAIR = {"ranking": True}
HINDSIGHT = {"file_name": "rows.json", "formatting": "hindsight"}


def clip(path: Path, *, frames: int = 48, faststart: bool = False) -> str:
    """Write an MP4 of noise and return its name; with `faststart` its index stands in front of the frames."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": "8"}
        noise = np.random.default_rng(0)
        for _ in range(frames):
            picture = noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.name


def sound(path: Path) -> str:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), dtype=np.int16), format="s16", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png is good; cut.png ends in the middle; text.png is no picture; cut.mp4 lacks its second half."""
    picture(tmp_path / "a.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:4000])
    (tmp_path / "text.png").write_text("no picture")
    clip(tmp_path / "good.mp4")
    data = (tmp_path / clip(tmp_path / "front.mp4", faststart=True)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    sound(tmp_path / "good.wav")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "info", "field", "got"),
    [
        ({"question": None}, {}, "question", "nothing"),
        ({"question": "  "}, {}, "question", "'  '"),
        ({"answer": ""}, {}, "answer", "''"),
        ({"cot": []}, {"target": "cot"}, "cot", "[]"),
        ({"cot": ["one", " "]}, {"target": "cot"}, "cot[1]", "' '"),
        ({"knowledge": None}, {"target": "knowledge"}, "knowledge", "nothing"),
        ({"knowledge": ["fact", None]}, {"target": "knowledge"}, "knowledge[1]", "nothing"),
        ({"chosen": ""}, PAIR, "chosen", "''"),
        ({"chosen": None}, PAIR, "chosen", "nothing"),
        ({"rejected": " "}, PAIR, "rejected", "' '"),
        ({"answer": None, "cot": [], "knowledge": None}, {"target": "multitask"}, "answer, cot, knowledge", "nothing"),
        ({"choices": ["x", ""]}, {}, "choices", "['x', '']"),
        ({"choices": ["x"] * 27}, {}, "choices", "27 choices"),
        ({"images": ["none.png"]}, {}, "images[0]", "none.png"),
        ({"images": ["a.png", "cut.png"]}, {}, "images[1]", "cut.png"),
        ({"images": ["text.png"]}, {}, "images[0]", "text.png"),
        ({"images": ["a.png", None]}, {}, "images[1]", "nothing"),
        ({"images": [""]}, {}, "images[0]", "''"),
        ({"videos": ["none.mp4"]}, {}, "videos[0]", "none.mp4"),
        ({"videos": ["cut.mp4"]}, {}, "videos[0]", "cut.mp4"),
        ({"videos": ["text.png"]}, {}, "videos[0]", "text.png"),
        ({"audios": ["good.mp4"]}, {}, "audios[0]", "good.mp4"),
        ({"question": "<image><image>What?"}, {}, "question", "2 <image> in the question and 1 entries in `images`"),
        ({"question": "<video>What?", "images": []}, {}, "question", "1 <video> in the question and 0 entries"),
        ({"answer": "see <image>"}, {}, "answer", "'see <image>'"),
        ({"chosen": "<video>"}, PAIR, "chosen", "'<video>'"),
        ({"knowledge": ["<image>"]}, {"context": ["knowledge"]}, "knowledge", "'<image>'"),
    ],
)
def test_a_bad_row_is_named_and_skipped(folder: Path, change: dict, info: dict, field: str, got: str) -> None:
    """Row 2 of three is bad. First the error, then, with `skip_bad_rows`, the two good rows and a line in the side file."""
    rows = [GOOD, GOOD | change, GOOD]
    setup = FormatSetup(folder)
    with pytest.raises(BadRowsError) as error:
        setup.align(rows, **info)
    message = str(error.value)
    assert "1 bad row of 3" in message
    assert f"{folder / 'rows.json'}, row 2, field `{field}`: got " in message
    assert got in message
    assert "expected" in message
    assert "skip_bad_rows: true" in message
    assert not setup.skipped()

    setup.data_args.skip_bad_rows = True
    dataset = setup.align(None, **info)
    assert {source.rsplit(" ", 1)[1] for source in dataset["_source"]} == {"1", "3"}
    (line,) = setup.skipped()
    assert (line["file"], line["row"], line["field"]) == (str(folder / "rows.json"), 2, field)
    assert got in line["reason"]
    assert line["content"] == GOOD | change


@pytest.mark.parametrize(
    ("rows", "info", "field"),
    [
        ([{"question": 5, "answer": "a"}], {}, "question"),
        ([{"question": "q", "answer": 3}], {}, "answer"),
        ([{"question": "q", "answer": ["a", "b"]}], {}, "answer"),
        ([{"question": "q", "cot": {"step": "a"}}], {"target": "cot"}, "cot"),
        ([{"question": "q", "cot": [1, 2]}], {"target": "cot"}, "cot[0]"),
        ([{"question": "q", "answer": "a", "images": [3]}], {}, "images[0]"),
        ([{"question": "q", "answer": "a", "choices": "x y"}], {}, "choices"),
        ([{"question": "q", "answer": "a", "system": ["s"]}], {}, "system"),
        ([{"question": "q", "chosen": "c", "rejected": "r", "chosen_confidence": "high"}], PAIR, "chosen_confidence"),
        ([{"query": "q", "answer": "a"}], {}, "question"),
    ],
)
def test_wrong_types(folder: Path, rows: list, info: dict, field: str) -> None:
    with pytest.raises(BadRowsError, match=rf"row 1, field `{field.replace('[', '.').replace(']', '.')}`: got"):
        FormatSetup(folder).align(rows, **info)


def test_a_confidence_that_is_no_number(folder: Path) -> None:
    """NaN comes from a column of floats, not from JSON, which `datasets` reads as nothing."""
    Dataset.from_list([GOOD, GOOD | {"rejected_confidence": float("nan")}]).to_parquet(folder / "rows.parquet")
    with pytest.raises(BadRowsError, match="row 2, field `rejected_confidence`: got nan, expected a finite number"):
        FormatSetup(folder).align(None, file_name="rows.parquet", ranking=True)


def test_good_media_of_every_kind_pass(folder: Path) -> None:
    """Palette and alpha pictures, one medium without its list, a video as frames, a sound."""
    Image.new("P", (20, 20)).save(folder / "palette.png")
    Image.new("LA", (20, 20)).save(folder / "alpha.png")
    rows = [
        GOOD | {"images": ["palette.png", "alpha.png"]},
        GOOD | {"images": ["a.png"], "videos": ["good.mp4", "front.mp4"], "audios": ["good.wav"]},
    ]
    assert len(FormatSetup(folder).align(rows)) == 2
    assert FormatSetup(folder).align([GOOD | {"images": "a.png"}])[0]["_images"] == [str(folder / "a.png")]


def test_all_problems_at_once_and_at_most_twenty_shown(folder: Path) -> None:
    """30 of 40 rows are bad, the first of them in two fields."""
    bad = [GOOD | {"question": ""} for _ in range(30)]
    bad[0]["answer"] = None
    with pytest.raises(BadRowsError) as error:
        FormatSetup(folder).align([GOOD] * 10 + bad)
    message = str(error.value)
    assert "30 bad rows of 40" in message
    assert message.count("field `question`") == 20
    assert "row 11, field `question`" in message
    assert "row 11, field `answer`" in message
    assert "… and 10 more" in message
    assert len(error.value.rows) == 30


def test_numbers_are_those_of_the_file_after_sampling(folder: Path) -> None:
    """`num_samples` shuffles, draws twice and `max_samples` cuts; rows 3 and 8 of 10 keep their numbers."""
    rows = [GOOD | {"id": f"r{number}"} for number in range(1, 11)]
    for number in (3, 8):
        rows[number - 1] |= {"question": ""}
    np.random.seed(0)
    setup = FormatSetup(folder, max_samples=30)
    with pytest.raises(BadRowsError) as error:
        setup.align(rows, num_samples=35)
    assert [(row.number, row.content["id"]) for row in error.value.rows] == [(3, "r3"), (8, "r8")]
    setup.data_args.skip_bad_rows = True
    dataset = setup.align(None, num_samples=35)
    assert 0 < len(dataset) < 30
    assert [line["row"] for line in setup.skipped()] == [3, 8]
    for row in dataset:  # good rows, too, know where they stand
        assert f"r{row['_source'].rsplit(' ', 1)[1]}" == json.loads(row["_columns"])["id"]


def test_numbers_of_a_sliced_split(folder: Path) -> None:
    rows = [GOOD] * 6 + [GOOD | {"question": ""}] + [GOOD] * 3
    with pytest.raises(BadRowsError, match="row 7,"):
        FormatSetup(folder).align(rows, split="train[4:9]")
    with pytest.raises(BadRowsError, match="row 7,"):
        FormatSetup(folder).align(rows, split="train[50%:]")
    assert len(FormatSetup(folder).align(rows, split="train[:6]")) == 6


@pytest.mark.parametrize("streaming", [False, True])
def test_the_right_file_of_a_folder(folder: Path, streaming: bool) -> None:
    """Three files of 3, 4 and 5 rows; the bad row is the second of each in turn."""
    for bad_file in ("one", "two", "three"):
        place = folder / f"parts_{bad_file}"
        place.mkdir()
        for name, size in (("one", 3), ("two", 4), ("three", 5)):
            rows = [GOOD | {"id": f"{name}{number}"} for number in range(1, size + 1)]
            if name == bad_file:
                rows[1] |= {"question": ""}
            write_rows(place / f"{name}.jsonl", rows)
        setup = FormatSetup(folder, streaming=streaming)
        setup.training_args.dataloader_num_workers = 1
        with pytest.raises(BadRowsError) as error:
            list(setup.align(None, file_name=place.name))
        (row,) = error.value.rows
        assert (row.file, row.number, row.content["id"]) == (str(place / f"{bad_file}.jsonl"), 2, f"{bad_file}2")


def test_skipping_one_dataset_only(folder: Path) -> None:
    rows = [GOOD, GOOD | {"question": ""}]
    setup = FormatSetup(folder)
    assert len(setup.align(rows, skip_bad_rows=True)) == 1
    with pytest.raises(BadRowsError):
        setup.align(None)


def test_the_side_file_bears_the_datasets_name_and_goes_when_the_rows_are_mended(folder: Path) -> None:
    info = {"file_name": "rows.json", "formatting": "hindsight"}
    write_rows(folder / "dataset_info.json", [])
    (folder / "dataset_info.json").write_text(json.dumps({"other": info | {"target": "cot"}, "mine": info}))
    setup = FormatSetup(folder, dataset="other,mine", skip_bad_rows=True)
    setup.align([GOOD, GOOD | {"question": ""}])
    assert len(setup.skipped("mine")) == 1
    setup.align([GOOD, GOOD])
    assert not setup.skipped("mine")


def test_nothing_left(folder: Path) -> None:
    setup = FormatSetup(folder, skip_bad_rows=True)
    with pytest.raises(BadRowsError, match="2 bad rows of 2"):
        setup.align([GOOD | {"question": ""}] * 2)
    with pytest.raises(ValueError, match="has no rows"):
        align_dataset(
            None, Dataset.from_dict({"question": []}), setup.attribute(HINDSIGHT), setup.data_args, setup.training_args
        )


def test_only_the_saving_process_writes(folder: Path) -> None:
    """Another rank comes to the same rows and leaves the side file alone."""
    rows = [GOOD, GOOD | {"question": ""}, GOOD]
    writer, reader = FormatSetup(folder, skip_bad_rows=True), FormatSetup(folder, skip_bad_rows=True)
    reader.training_args = type(
        "Rank1", (), {"should_save": False, "local_process_index": 1, "output_dir": str(writer.output)}
    )
    expected = writer.align(rows)
    written = writer.skipped()
    assert reader.align(None)[:] == expected[:]
    assert writer.skipped() == written
    (writer.output / "bad_rows" / "rows.jsonl").unlink()
    reader.align(None)
    assert not writer.skipped()


def test_no_cache_hides_a_row_that_went_bad(folder: Path) -> None:
    """The second run would be served from the cache of `datasets`; the picture is gone, or another, by then."""
    picture(folder / "b.png", size=(56, 56))
    setup = FormatSetup(folder)
    rows = [GOOD | {"images": ["b.png"]}]
    first = setup.align(rows)
    assert setup.align(None)._fingerprint == first._fingerprint
    os.utime(folder / "b.png")
    assert setup.align(None)._fingerprint == first._fingerprint, "touched or copied: the content is what counts"
    picture(folder / "b.png", size=(112, 56))
    assert setup.align(None)._fingerprint != first._fingerprint
    (folder / "b.png").write_bytes(b"broken")
    with pytest.raises(BadRowsError, match=r"b\.png"):
        setup.align(None)


def test_several_processes(folder: Path) -> None:
    """Same rows, sources and side file with two workers as with one."""
    rows = [GOOD | {"id": str(number), "question": "" if number % 5 == 0 else "q"} for number in range(50)]
    one = FormatSetup(folder, skip_bad_rows=True)
    expected = one.align(rows, target="multitask")
    lines = one.skipped()
    two = FormatSetup(folder, skip_bad_rows=True, preprocessing_num_workers=2)
    assert two.align(None, target="multitask")[:] == expected[:]
    assert two.skipped() == lines
    assert len(lines) == 10


def test_streaming_checks_rows_as_they_pass(folder: Path) -> None:
    """The bad row is the third: two examples come out before the error; skipping leaves the same rows as without streaming."""
    rows = [GOOD | {"id": str(number), "question": "" if number == 2 else "q"} for number in range(6)]
    expected = FormatSetup(folder, skip_bad_rows=True).align(rows, target="multitask")
    setup = FormatSetup(folder, streaming=True)
    setup.training_args.dataloader_num_workers = 2
    stream = iter(setup.align(None))
    assert [json.loads(next(stream)["_columns"])["id"] for _ in range(2)] == ["0", "1"]
    with pytest.raises(BadRowsError, match="row 3, field `question`"):
        next(stream)
    setup.data_args.skip_bad_rows = True
    aligned = setup.align(None, target="multitask")
    for _ in range(2):  # two epochs, one line
        assert [row["_columns"] for row in aligned] == expected["_columns"][:]
    (line,) = setup.skipped()
    assert (line["row"], line["field"]) == (3, "question")
    write_rows(folder / "rows.json", [rows[2]] * 2)
    with pytest.raises(ValueError, match="every row is bad"):
        setup.align(None)


@pytest.mark.parametrize("decoded", [True, False])
def test_pictures_inside_a_parquet_file(folder: Path, decoded: bool) -> None:
    """Row 2 of 3 holds bytes that are no picture, as an `Image` column or as plain structs; both stay encoded."""
    encoded = io.BytesIO()
    Image.new("RGB", (20, 20), "blue").save(encoded, format="PNG")
    blue = {"bytes": encoded.getvalue(), "path": None}
    rows = [
        {"question": "q", "answer": "a", "images": [picture]}
        for picture in (blue, {"bytes": b"broken", "path": None}, blue)
    ]
    kind = ImageFeature() if decoded else {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"question": Value("string"), "answer": Value("string"), "images": List(kind)})
    Dataset.from_list(rows, features=features).to_parquet(folder / "rows.parquet")
    setup = FormatSetup(folder)
    with pytest.raises(BadRowsError, match=r"rows.parquet, row 2, field `images\[0\]`: got embedded data"):
        setup.align(None, file_name="rows.parquet")
    setup.data_args.skip_bad_rows = True
    dataset = setup.align(None, file_name="rows.parquet")
    (image,) = dataset[1]["_images"]
    assert len(dataset) == 2
    assert Image.open(io.BytesIO(image["bytes"])).size == (20, 20)  # the host opens it
    assert setup.skipped()[0]["content"]["images"][0]["bytes"] == "<6 bytes>"


def test_fuzz_no_bad_row_passes_and_no_good_row_is_lost(folder: Path) -> None:
    """60 rows, each broken or not by a coin: exactly the broken ones are listed."""
    draw = random.Random(7)
    breaks = [{"question": None}, {"answer": " "}, {"images": ["cut.png"]}, {"videos": ["cut.mp4"]}, {"choices": [""]}]
    rows, broken = [], []
    for number in range(1, 61):
        is_broken = draw.random() < 0.4
        rows.append(GOOD | {"id": str(number)} | (draw.choice(breaks) if is_broken else {}))
        broken += [number] * is_broken
    setup = FormatSetup(folder, skip_bad_rows=True)
    dataset = setup.align(rows)
    assert [line["row"] for line in setup.skipped()] == broken
    kept = [int(json.loads(text)["id"]) for text in dataset["_columns"]]
    assert sorted(kept + broken) == list(range(1, 61))


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("answer", 60, "got 60, expected non-empty text"),
        ("question", ["What?"], r"got \['What\?'\], expected non-empty text"),
        ("images", [5], r"got \['?5'?\]|got 5"),
        ("choices", "x", "got 'x', expected a list"),
    ],
)
def test_a_row_of_another_type_is_named(folder: Path, suffix: str, field: str, value: object, expected: str) -> None:
    """`datasets` cannot even load such a file; ours names the row, and a field that may be text or a list is taken as either."""
    setup = FormatSetup(folder)
    info = HINDSIGHT | {"file_name": f"rows.{suffix}"}
    write_rows(
        folder / info["file_name"], [GOOD, GOOD | {"cot": "one"}, GOOD | {field: value}, GOOD | {"choices": None}]
    )
    with pytest.raises(BadRowsError, match=f"row 3, field `{field}[^`]*`: {expected}") as error:
        setup.align(None, **info)
    assert len(error.value.rows) == 1
    assert "leave them out" in str(error.value)


def test_a_broken_file_names_its_row(folder: Path) -> None:
    """A line that is cut, and one that is no object: both are named; the good one is kept where bad rows are skipped."""
    (folder / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": \n["x"]\n')
    with pytest.raises(BadRowsError, match=r"rows\.jsonl, row 2") as error:
        FormatSetup(folder).align(None, file_name="rows.jsonl")
    assert [row.number for row in error.value.rows] == [2, 3]
    setup = FormatSetup(folder, skip_bad_rows=True)
    assert len(setup.align(None, file_name="rows.jsonl")) == 1
    assert [line["row"] for line in setup.skipped()] == [2, 3]


def test_other_formats_are_left_to_the_host(folder: Path) -> None:
    """A stage of the host's reads rows of the host's formats as it always did."""
    setup = FormatSetup(folder)
    write_rows(folder / "theirs.json", [{"instruction": "a", "output": "b"}, {"instruction": 5, "output": "b"}])
    with pytest.raises(DatasetGenerationError):
        setup.align(None, file_name="theirs.json", formatting="alpaca")


def test_texts_stay_texts_and_late_fields_are_found(folder: Path) -> None:
    """Dates, numbers in texts, a field that only the last row has, a byte order mark, and mixed types in a free column."""
    rows = [GOOD | {"answer": "2019-05-01", "meta": {"score": 1}}, GOOD | {"answer": "007", "meta": ["x"]}]
    rows += [GOOD | {"answer": "1e5", "hint": "late"}]
    text = "\ufeff" + "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    found = FormatSetup(folder).align(None, file_name="rows.jsonl")
    assert [example[0]["content"] for example in found["_response"]] == ["2019-05-01", "007", "1e5"]
    columns = [json.loads(text) for text in found["_columns"]]
    assert [each.get("meta") for each in columns] == [{"score": 1}, ["x"], None]
    assert [each.get("hint") for each in columns] == [None, None, "late"]


@pytest.mark.parametrize("split", ["train[1:]", "train[50%:]"])
def test_a_part_of_a_split_keeps_its_places(folder: Path, split: str) -> None:
    rows = [GOOD, GOOD, GOOD | {"question": ""}]
    with pytest.raises(BadRowsError, match=r"rows\.json, row 3, field `question`"):
        FormatSetup(folder).align(rows, split=split)


def test_a_second_run_reads_the_table_of_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files: nothing is read again, places and unreadable rows are those of the first; a changed file is read."""
    from llamafactory_hind.formats.align import tables

    (folder / "rows.jsonl").write_text(json.dumps(GOOD) + "\n{\n")
    setup = FormatSetup(folder, skip_bad_rows=True)
    assert len(setup.align(None, file_name="rows.jsonl")) == 1
    read = tables.to_arrow

    def forbidden(*args: Any, **options: Any) -> Any:
        raise AssertionError("the table is there")

    monkeypatch.setattr(tables, "to_arrow", forbidden)
    assert len(setup.align(None, file_name="rows.jsonl")) == 1
    assert [line["row"] for line in setup.skipped()] == [2]
    monkeypatch.setattr(tables, "to_arrow", read)
    (folder / "rows.jsonl").write_text((json.dumps(GOOD) + "\n") * 3)
    assert len(setup.align(None, file_name="rows.jsonl")) == 3


def test_a_long_value_is_shortened_in_the_middle() -> None:
    """80 characters: 39, one for what is left out, and the last 40, which hold a path's own name."""
    path = "/data/" + "deep/" * 40 + "cut.png"
    shown = show(path)
    assert len(shown) == 80
    assert shown.startswith("'/data/deep/")
    assert shown.endswith("/cut.png'")
    assert show("short") == "'short'"
