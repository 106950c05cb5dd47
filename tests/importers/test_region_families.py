"""`importers vcr | sherlock | visualcomet | lskd | refcoco`: files of exactly the released form to `region` rows, and what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.formats import get_rows
from llamafactory_hind.formats.ratings import read_ratings
from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.importers.visualcomet import mark_people


SIZE = (64, 48)
BOXES = [[2.5, 3.0, 30.0, 28.0, 0.99], [32.0, 4.0, 64.4, 40.0, 0.9], [5.0, 30.0, 20.0, 47.0, 0.8]]
METADATA = {"boxes": BOXES, "segms": [[[[2, 3], [30, 3], [30, 28]]]] * 3, "names": ["person", "person", "bottle"]}
METADATA |= {"width": SIZE[0], "height": SIZE[1]}
PEOPLE = [[2.5, 3.0, 30.0, 28.0], [32.0, 4.0, 64.0, 40.0]]  # the second is cut to the picture
VCR = {
    "annot_id": "val-0",
    "img_id": "val-0",
    "movie": "3015_CHARLIE",
    "img_fn": "lsmdc_3015/a@0.jpg",
    "metadata_fn": "lsmdc_3015/a@0.json",
    "objects": METADATA["names"],
    "question": ["Why", "is", [1], "pointing", "at", [2], "?"],
    "answer_choices": [
        [[1], "does", "n't", "know", "."],
        [[0, 1], "are", "sad", "."],
        ["It", "'s", "late", "."],
        [[2]],
    ],
    "answer_label": 1,
    "rationale_choices": [["a"], ["b", "."], [[1], "waves", "."], ["d"]],
    "rationale_label": 2,
    "question_number": 0,
    "match_fold": "val-0",
}


class Release:
    """Released files in a folder with pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.images = folder, folder / "pictures"
        for name in ("vcr1images/lsmdc_3015/a@0.jpg", "VG_100K/1.jpg", "train2014/COCO_train2014_000000000042.jpg"):
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE, "teal").save(self.images / name)
        (self.images / "vcr1images/lsmdc_3015/a@0.json").write_text(json.dumps(METADATA))

    def write(self, name: str, content: Any) -> str:
        lines = isinstance(content, list) and name.endswith(".jsonl")
        text = "".join(json.dumps(one) + "\n" for one in content) if lines else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8-sig")
        return str(self.folder / name)

    def run(self, family: str, *words: str) -> list[dict[str, Any]]:
        """Import, and let the format check the rows as training does."""
        out = self.folder / "out.json"
        main(
            [family, *words, "--images", str(self.images), "--out", str(out), "--dataset-dir", str(self.folder)],
        )
        assert json.loads((self.folder / "dataset_info.json").read_text())["out"]["formatting"] == "region"
        rows = json.loads(out.read_text())
        known = [{name: value for name, value in row.items() if value is not None} for row in rows]
        bad = [str(one) for row in known for one in get_rows("region").question_problems(row) if one.field != "answer"]
        assert [line for line in bad if "choices" not in line] == []
        return rows

    def refusal(self, capsys: pytest.CaptureFixture[str], family: str, *words: str) -> str:
        with pytest.raises(SystemExit):
            self.run(family, *words)
        assert not (self.folder / "out.json").exists()
        return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_vcr_as_released(release: Release) -> None:
    """Clitics are joined; only objects that a text names are regions, numbered anew; the fifth number of a box goes."""
    (row,) = release.run("vcr", "--file", release.write("val.jsonl", [VCR]))
    assert row["images"] == ["vcr1images/lsmdc_3015/a@0.jpg"]
    assert row["question"] == "Why is <region:1> pointing at <region:2>?"
    assert row["choices"][:3] == [
        "<region:1> doesn't know.",
        "<region:0> and <region:1> are sad.",
        "It's late.",
    ]
    assert (row["answer"], row["rationale"]) == (row["choices"][1], "<region:1> waves.")
    assert (row["answer_label"], row["rationale_label"], row["id"]) == (1, 2, "vcr-val-0")
    assert [region["box"] for region in row["regions"][:2]] == PEOPLE
    assert row["regions"][2]["label"] == "bottle"


def test_vcr_everyone_means_all_people_and_numbers_have_no_gaps(release: Release) -> None:
    texts = {"question": ["Where", "is", "everyone", "?"], "answer_choices": [["a"], ["b"], ["c"], [[2], "."]]}
    pointless = {"annot_id": "val-1", "question": ["Where", "?"], "answer_choices": [["a"]] * 4}
    plain = {"rationale_choices": [["a"], ["b"], ["c"], ["d"]]}
    file = release.write("val.jsonl", [VCR | texts | plain, VCR | pointless | plain])
    everyone, nobody = release.run("vcr", "--file", file)
    assert [region["label"] for region in everyone["regions"]] == ["person", "person", "bottle"]
    assert [region["label"] for region in nobody["regions"]] == ["person", "person"]
    only = VCR | {"question": ["Is", [2], "full", "?"], "answer_choices": [["a"]] * 4} | plain
    (row,) = release.run("vcr", "--file", release.write("val.jsonl", [only]))
    assert (row["question"], len(row["regions"])) == ("Is <region:0> full?", 1)


def test_the_test_split_of_vcr_has_no_labels(release: Release) -> None:
    hidden = {key: value for key, value in VCR.items() if not key.endswith("_label")}
    (row,) = release.run("vcr", "--file", release.write("test.jsonl", [hidden]))
    assert (row["answer"], row["answer_label"], row["rationale_label"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": ["Why", [7], "?"]}, "points at 7, expected numbers below 3"),
        ({"question": ["Why", [None], "?"]}, "field `question`: token 1: got [None]"),
        ({"answer_label": 4}, "field `answer_label`: got 4, expected 0 to 3"),
        ({"answer_choices": [["a"]]}, "field `answer_choices`: got 1, expected 4 token lists"),
        ({"rationale_choices": [["a"], [], ["c"], ["d"]]}, "field `rationale_choices[1]`: got nothing"),
        ({}, "field `annot_id`: got 'vcr-val-0', which"),
    ],
)
def test_a_question_of_vcr_that_is_wrong_is_named(
    release: Release, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    record = VCR | {"annot_id": "val-1"} | change if change else VCR
    message = release.refusal(capsys, "vcr", "--file", release.write("val.jsonl", [VCR, record]))
    assert says.replace("points", "point") in message
    assert "line 2" in message


def test_bad_metadata_is_named_and_a_missing_one_counts_as_a_missing_picture(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    other = VCR | {"annot_id": "val-1", "img_fn": "lsmdc_3015/b.jpg", "metadata_fn": "lsmdc_3015/b.json"}
    file = release.write("val.jsonl", [VCR, other])
    assert "lsmdc_3015/b.json" in release.refusal(capsys, "vcr", "--file", file)
    rows = release.run("vcr", "--file", file, "--missing", "skip")
    assert [row["id"] for row in rows] == ["vcr-val-0"]
    (release.folder / "out.json").unlink()
    metadata = release.images / "vcr1images/lsmdc_3015/a@0.json"
    for content, says in (
        (METADATA | {"boxes": BOXES[:2]}, "field `boxes`"),
        (METADATA | {"boxes": [*BOXES[:2], [9, 9, 3, 3, 1]]}, "field `boxes[2]`"),
        (METADATA | {"width": "64"}, "field `width`: got '64'"),
        ([], "expected an object at the top level"),
    ):
        metadata.write_text(json.dumps(content))
        message = release.refusal(capsys, "vcr", "--file", release.write("val.jsonl", [VCR]))
        assert says in message
        assert "a@0.json" in message


EVENT = {
    "img_fn": VCR["img_fn"],
    "movie": "Charlie",
    "metadata_fn": VCR["metadata_fn"],
    "place": "in a courtroom, at 20 Main Street",
    "event": "1 is watching 2's crowd",
    "intent": ["see 2", "see 2"],
    "before": ["walk 20 miles with 1"],
}


def test_people_of_visualcomet_are_numbered_from_one() -> None:
    """`1` is object 0 of VCR; what has no object stays, and so does a number that is no word."""
    assert (
        mark_people("1 and 2's dog, 3, 21 7.5 a1 2", 2) == "<region:0> and <region:1>'s dog, 3, 21 7.5 a1 <region:1>"
    )


def test_visualcomet_sentences_and_groups(release: Release) -> None:
    file = release.write("val_annots.json", [EVENT, EVENT | {"event": "2 sits", "before": [], "after": ["leave 5"]}])
    rows = release.run("visualcomet", "--file", file, "--rows", "sentences")
    assert [row["id"] for row in rows] == [
        f"visualcomet-{name}" for name in ("0-intent-0", "0-intent-1", "0-before-0", "1-intent-0", "1-intent-1", "1-after-0")
    ]  # fmt: skip
    assert rows[2]["question"].startswith("<region:0> is watching <region:1>'s crowd (in a courtroom, at 20 Main Str")
    assert rows[2]["answer"] == "walk 20 miles with <region:0>"
    assert [region["box"] for region in rows[2]["regions"]] == PEOPLE
    (release.folder / "out.json").unlink()
    words = ("visualcomet", "--file", file, "--candidates", "3")
    groups = release.run(*words)
    assert [(row["num_gold"], len(row["choices"])) for row in groups] == [(2, 3), (1, 3), (2, 3), (1, 3)]
    assert groups[3]["choices"][0] == "leave 5"  # there is no such person: the number stays
    assert set(groups[3]["choices"]) == {"leave 5", "see <region:1>", "walk 20 miles with <region:0>"}
    assert [row["choices"] for row in release.run(*words)] == [row["choices"] for row in groups]


def test_what_visualcomet_lacks_is_named(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    few = release.refusal(capsys, "visualcomet", "--file", release.write("val_annots.json", [EVENT]))
    assert "got 3, expected 50 candidates; the file has 2 different sentences" in few
    bare = {key: value for key, value in EVENT.items() if key not in ("intent", "before")}
    assert "no event has sentences" in release.refusal(
        capsys, "visualcomet", "--file", release.write("test_annots.json", [bare])
    )


INSTANCE = {
    "instance_id": "f1",
    "inputs": {
        "image": {"url": "https://cs.stanford.edu/people/rak248/VG_100K/1.jpg", "width": 64, "height": 48},
        "bboxes": [
            {"left": 2, "top": 3, "width": 20, "height": 30},
            {"left": 40, "top": 3, "width": 26, "height": 30},
        ],
        "clue": "a sign",
    },
    "targets": {"inference": "a highway is near"},
}


def test_sherlock_corpus(release: Release) -> None:
    """Several boxes of an instance are all asked about; they are cut to the picture where its size is there."""
    url = "http://s3-us-west-2.amazonaws.com/ai2-rowanz/vcr1images/lsmdc_3015/a@0.jpg"
    vcr = INSTANCE | {"instance_id": "f2", "inputs": INSTANCE["inputs"] | {"image": {"url": url}}}
    first, second = release.run("sherlock", "--file", release.write("train.json", [INSTANCE, vcr]))
    assert first["question"] == "What can be inferred from <region:0> and <region:1>?"
    assert [region["box"] for region in first["regions"]] == [[2, 3, 22, 33], [40, 3, 64, 33]]
    assert (first["answer"], first["clue"], first["images"]) == ("a highway is near", "a sign", ["VG_100K/1.jpg"])
    assert second["images"] == ["vcr1images/lsmdc_3015/a@0.jpg"]


def comparison() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Three candidates of a region; the key has them in another order than the file."""
    region = [{"left": 2, "top": 3, "width": 20, "height": 30}]
    instances = [
        {"image": INSTANCE["inputs"]["image"], "region": region, "inference": f"text {name}", "test_id": f"t{name}"}
        for name in "abc"
    ]
    marks = {"c": ("3", 1), "a": (1, "2.0"), "b": (2, 2)}
    candidates = [
        {"source_iid": f"s{name}", "annot1": one, "annot2": other, "prediction": 0.1}
        for name, (one, other) in marks.items()
    ]
    ids = {f"t{name}": {"Input_iid": "r1", "candidate": f"s{name}"} for name in "abc"}
    return instances, {"test_id_map": ids, "annotations": [{"Input_iid": "r1", "candidates": candidates}]}


def test_sherlock_comparison(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    """Candidates keep the order of the key, whose place decides the official noise; ratings may be texts."""
    instances, key = comparison()
    words = ("sherlock", "--file", release.write("i.json", instances), "--key")
    (row,) = release.run(*words, release.write("k.json", key))
    assert row["choices"] == ["text c", "text a", "text b"]
    assert (row["ratings"], row["test_ids"]) == ([[3.0, 1.0, 2.0], [1.0, 2.0, 2.0]], ["tc", "ta", "tb"])
    (release.folder / "out.json").unlink()
    key["annotations"][0]["candidates"][1]["source_iid"] = "other"
    assert "candidates [1]: got no instance" in release.refusal(capsys, *words, release.write("k.json", key))


TRIPLE = {
    "image": "VG_100K/1.jpg",
    "source": "chatgpt_region_any_v4",
    "split": "train",
    "index": "chatgpt_region_any_v4-7",
    "region": ["4"],
    "region_all": ["2", "4"],
    "references": [
        {"name": "2", "boxes": [[1.0, 2.0, 9.0, 9.0]], "segms": None, "obj_guess": "tank_(storage_vessel)", "tag": "region"},
        {"name": "4", "boxes": [[2.0, 3.0, 22.0, 33.0], [0.0, 0.0, 1.0, 1.0]], "segms": None, "obj_guess": "cup", "tag": "region"},
    ],
    "question": ["What", "is", [4], "holding", "?"],
    "answer": [[2, 4], "hold", "hands", "."],
    "rationale": ["They", "smile", "."],
    "prediction": 0.91,
}  # fmt: skip


def test_lskd_corpus_and_rated_rows(release: Release) -> None:
    """Ids are texts in `region` and numbers in the tokens; those of `region` come first; the first box counts."""
    rated = TRIPLE | {"index": "x-1", "label": ["accept", "reject", "accept"], "qa_score": 2, "r_score": 1.5}
    first, second = release.run("lskd", "--file", release.write("a.jsonl", [TRIPLE, rated]))
    assert first["question"] == "What is <region:0> holding?"
    assert first["answer"] == "<region:1> and <region:0> hold hands."
    assert first["regions"] == [
        {"image": 0, "box": [2.0, 3.0, 22.0, 33.0], "label": "cup"},
        {"image": 0, "box": [1.0, 2.0, 9.0, 9.0], "label": "tank (storage vessel)"},
    ]
    assert (first["critic"], first["id"]) == (0.91, "lskd-chatgpt_region_any_v4-7")
    assert read_ratings(second).accepted
    assert read_ratings(second).qa_score == 2.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"region": ["4", "9"]}, "region 9: got no reference of that name"),
        ({"answer": [[5], "waves"]}, "field `answer`: points at 5, not in `references`"),
        ({"rationale": None}, "field `rationale`: got None, expected a text or a list of tokens"),
        ({"label": ["maybe"]}, "field `label`: got ['maybe']"),
    ],
)
def test_a_triple_that_is_wrong_is_named(
    release: Release, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    file = release.write("a.jsonl", [TRIPLE, TRIPLE | {"index": "x"} | change])
    message = release.refusal(capsys, "lskd", "--file", file)
    assert says in message
    assert "line 2" in message


REF = {
    "ref_id": 5,
    "ann_id": 11,
    "category_id": 1,
    "image_id": 42,
    "file_name": "COCO_train2014_000000000042_11.jpg",
    "split": "testA",
    "sent_ids": [7, 8],
    "sentences": [
        {"tokens": ["left", "man"], "raw": "Left man", "sent_id": 7, "sent": "left man"},
        {"tokens": ["him"], "raw": "him", "sent_id": 8, "sent": "him"},
    ],
}
INSTANCES = {
    "images": [{"file_name": "COCO_train2014_000000000042.jpg", "width": 64, "height": 48, "id": 42}],
    "categories": [{"id": 1, "name": "person"}],
    "annotations": [
        {"id": 10, "image_id": 42, "category_id": 1, "bbox": [1, 1, 0, 5]},
        {"id": 9, "image_id": 42, "category_id": 1, "bbox": [30, 2, 20, 20]},
        {"id": 11, "image_id": 42, "category_id": 1, "bbox": [2.5, 3, 10, 40]},
    ],
}


def refcoco_words(release: Release, refs: Any, split: str = "testA") -> tuple[str, ...]:
    file = release.folder / "refs(unc).p"
    file.write_bytes(pickle.dumps(refs, protocol=2))
    return (
        "refcoco",
        "--refs",
        str(file),
        "--instances",
        release.write("instances.json", INSTANCES),
        "--split",
        split,
    )


def test_refcoco_as_released(release: Release) -> None:
    """A row an expression; all objects of the picture are regions but one without area; the answer points at one."""
    rows = release.run(*refcoco_words(release, [REF, REF | {"split": "val"}]))
    assert [(row["id"], row["expression"]) for row in rows] == [("refcoco-7", "left man"), ("refcoco-8", "him")]
    assert rows[0]["answer"] == "<region:1>"
    assert rows[0]["regions"][1] == {"image": 0, "box": [2.5, 3.0, 12.5, 43.0], "label": "person"}
    assert len(rows[0]["regions"]) == 2
    assert rows[0]["images"] == ["train2014/COCO_train2014_000000000042.jpg"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_a_pickle_that_would_run_code_is_refused(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    message = release.refusal(capsys, *refcoco_words(release, [REF, Evil()]))
    assert ".print; the released files hold plain values alone" in message
    assert "ran" not in capsys.readouterr().out


def test_what_is_wrong_in_refcoco_is_named(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected one of testA" in release.refusal(capsys, *refcoco_words(release, [REF], "test"))
    message = release.refusal(capsys, *refcoco_words(release, [REF, REF | {"ann_id": 10}]))
    assert "[1], field `ann_id`: got 10, expected an annotation with a box" in message


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("images", 5, "images[0], field `id`: got 5"),
        ("images", {"id": 42, "height": 50, "file_name": "a.jpg"}, "images[0], field `width`: got nothing"),
        ("categories", "person", "categories[0], field `id`: got 'person'"),
        ("annotations", None, "annotations[0], field `id`: got nothing"),
        ("annotations", {"id": 9, "image_id": "42"}, "annotations[0], field `image_id`: got '42'"),
    ],
)
def test_entries_that_are_no_objects_are_named(
    release: Release, capsys: pytest.CaptureFixture[str], name: str, change: Any, told: str
) -> None:
    words = list(refcoco_words(release, [REF]))
    words[4] = release.write("instances.json", {**INSTANCES, name: [change, *INSTANCES[name][1:]]})
    assert told in release.refusal(capsys, *words)


def test_references_that_are_no_objects_are_named(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    assert "[1], field `split`: got 7" in release.refusal(capsys, *refcoco_words(release, [REF, 7]))
