"""`importers.omnimedvqa`: the released form, a split that shares no picture, what is refused, and rows that rewards score."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from formats_setup import FormatSetup, picture, write_rows

from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.importers.omnimedvqa import INSTRUCTION, add_arguments, read_entries
from llamafactory_hind.importers.reading.entries import Entry, ImportRefused
from llamafactory_hind.rewards import gather_columns, load_rewards


MRI = "MR (Mag-netic Resonance Imaging)"


def record(number: int, *, modality: str = MRI, image: str | None = None, **changed: Any) -> dict[str, Any]:
    """A question as it was released; the right option is the second of three."""
    return {
        "dataset": "Brain",
        "question_id": f"Brain_{number:04}",
        "question_type": "Disease Diagnosis",
        "question": "What is seen?",
        "gt_answer": "glioma",
        "image_path": image or f"Images/{modality[:2]}/{number}.png",
        "option_A": "nothing",
        "option_B": "glioma",
        "option_C": "meningioma",
        "modality_type": modality,
    } | changed


class Release:
    """Released files beside their pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()

    def read(self, records: Any, *words: str) -> list[Entry]:
        """Write the records in one file and read a split of it."""
        (self.folder / "Brain.json").write_text(json.dumps(records), encoding="utf-8")
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        parser.add_argument("--images", type=Path)
        parser.add_argument("--skip-missing-images", action="store_true")
        given = ["--file", str(self.folder / "Brain.json"), "--images", str(self.images), "--split", "test"]
        return read_entries(parser.parse_args([*given, *words]))

    def split(self, records: Any, name: str, train: int, test: int, *words: str) -> list[dict[str, Any]]:
        counts = ["--train-items", str(train), "--test-items", str(test)]
        return [entry.row for entry in self.read(records, *counts, *words, "--split", name)]

    def refusal(self, records: Any, *words: str) -> str:
        with pytest.raises(ImportRefused) as refused:
            self.read(records, "--train-items", "1", "--test-items", "1", *words)
        return str(refused.value)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_a_row(release: Release) -> None:
    """Letters stand for the options that there are, the modality gets a short name, a placeholder in the question goes."""
    records = [record(0, question="<image>What is seen? "), record(1)]
    rows = release.split(records, "train", 1, 1) + release.split(records, "test", 1, 1)
    (row,) = [row for row in rows if row["id"].endswith("0000")]
    assert row == {
        "id": "omnimedvqa-Brain_0000",
        "images": ["Images/MR/0.png"],
        "prompt": f"<image>What is seen?\nA. nothing\nB. glioma\nC. meningioma\n{INSTRUCTION}",
        "answer": "B",
        "choices": ["nothing", "glioma", "meningioma"],
        "modality": "MRI",
        "question_type": "Disease Diagnosis",
        "question": "What is seen?",
        "dataset": "Brain",
        "external": None,
        "hint": None,
    }


def test_one_modality_trains_all_are_tested_and_no_picture_is_in_both(release: Release) -> None:
    """Forty MRI questions on ten pictures, twenty CT questions on twenty: 18 train, 12 of each are tested."""
    records = [record(n, image=f"Images/MR/{n // 4}.png") for n in range(40)]
    records += [record(n, modality="CT(Computed Tomography)") for n in range(40, 60)]
    train, test = release.split(records, "train", 18, 12), release.split(records, "test", 18, 12)
    assert [row["modality"] for row in train] == ["MRI"] * 18
    assert [row["modality"] for row in test] == ["MRI"] * 12 + ["CT"] * 12
    assert not {row["images"][0] for row in train} & {row["images"][0] for row in test}
    assert train == release.split(records, "train", 18, 12)
    assert train == release.split(records, "train", 18, 4), "a smaller test must not move what trains"
    assert train != release.split(records, "train", 18, 12, "--seed", "1")
    by_id = sorted(records, key=lambda entry: entry["question_id"], reverse=True)
    assert {row["id"] for row in release.split(by_id, "train", 18, 12)} == {row["id"] for row in train}
    assert {row["modality"] for row in release.split(records, "train", 3, 2, "--modality", "CT")} == {"CT"}


def test_too_few_questions_name_their_modalities(release: Release) -> None:
    """Ten questions on ten pictures serve six and four; on two pictures of five they cannot, for a split takes whole pictures."""
    single = [record(n) for n in range(10)]
    assert len(release.split(single, "train", 6, 4)) == 6
    with pytest.raises(ImportRefused, match=r"MRI: 10 questions on 10 pictures, expected 5 to test and 6 to train"):
        release.split(single, "train", 6, 5)
    shared = [record(n, image=f"Images/MR/{n // 5}.png") for n in range(10)]
    with pytest.raises(ImportRefused, match=r"MRI: 10 questions on 2 pictures"):
        release.split(shared, "train", 6, 4)
    with pytest.raises(ImportRefused, match=r"--modality: got 'OCT', expected one of MRI"):
        release.split(single, "train", 1, 1, "--modality", "OCT")
    with pytest.raises(ImportRefused, match=r"--train-items: got 0"):
        release.split(single, "train", 0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": ""}, "entry 1, field `question`: got '', expected non-empty text"),
        (
            {"gt_answer": "stroke"},
            "entry 1, field `gt_answer`: got 'stroke', expected the text of exactly one of the options",
        ),
        ({"option_A": "glioma"}, "entry 1, field `gt_answer`: got 'glioma', expected the text of exactly one"),
        ({"option_B": None}, "entry 1, field `option_A`: got option_A, option_C, expected two options or more"),
        ({"option_B": 3}, "entry 1, field `option_B`: got 3, expected non-empty text"),
        ({"image_path": None}, "entry 1, field `image_path`: got nothing"),
        ({"modality_type": 1}, "entry 1, field `modality_type`: got 1"),
        ({"question_id": "Brain_0000"}, "entry 1, field `question_id`: got 'omnimedvqa-Brain_0000', which"),
        ({"image_path": "Images/MR/0.png", "modality_type": "X-Ray"}, "Images/MR/0.png is of MRI and X-Ray"),
    ],
)
def test_what_is_refused(release: Release, change: dict, said: str) -> None:
    assert said in release.refusal([record(0), record(1) | change, record(2), record(3)])


def test_bad_entries_can_be_left_out_and_are_named(release: Release, capsys: pytest.CaptureFixture) -> None:
    records = [record(0), record(1, gt_answer="stroke"), record(2)]
    found = release.split(records, "train", 1, 1, "--skip-bad-entries")
    found += release.split(records, "test", 1, 1, "--skip-bad-entries")
    assert {row["id"][-1] for row in found} == {"0", "2"}
    assert "entry 1, field `gt_answer`: got 'stroke'" in capsys.readouterr().err


def test_missing_pictures_are_left_out_before_the_split(release: Release, capsys: pytest.CaptureFixture) -> None:
    records = [record(n) for n in range(4)]
    (release.images / "Images" / "MR").mkdir(parents=True)
    for number in (0, 3):
        picture(release.images / "Images" / "MR" / f"{number}.png")
    found = [release.split(records, name, 1, 1, "--skip-missing-images") for name in ("train", "test")]
    assert {rows[0]["id"][-1] for rows in found} == {"0", "3"}
    assert "2 questions left out" in capsys.readouterr().err


def test_the_command_writes_rows_that_load_and_score(release: Release) -> None:
    """A folder of two files through the command, the host's loading, and the rewards of the YAML."""
    released = release.folder / "Open-access"
    released.mkdir()
    for name, numbers, modality in (("Brain", range(4), MRI), ("Chest", range(4, 6), "CT(Computed Tomography)")):
        (released / f"{name}.json").write_text(json.dumps([record(n, modality=modality) for n in numbers]))
        (release.images / "Images" / modality[:2]).mkdir(parents=True)
        for number in numbers:
            picture(release.images / "Images" / modality[:2] / f"{number}.png")
    counts = ["--train-items", "2", "--test-items", "2"]
    for split in ("train", "test"):
        out = release.folder / f"omni_{split}.json"
        where = ["--images", str(release.images), "--out", str(out), "--dataset-dir", str(release.folder)]
        main(["omnimedvqa", "--file", str(released), "--split", split, *counts, *where])
    info = json.loads((release.folder / "dataset_info.json").read_text())
    assert info["omni_train"] == {"file_name": "omni_train.json", "formatting": "rollout"}
    rows = json.loads((release.folder / "omni_test.json").read_text())
    assert [row["modality"] for row in rows] == ["MRI", "MRI", "CT", "CT"]
    write_rows(release.folder / "again.json", rows)
    aligned = FormatSetup(release.folder, media_dir=str(release.images)).align(
        None, file_name="again.json", formatting="rollout"
    )
    columns = gather_columns([json.loads(text) for text in aligned["_columns"]])
    texts = ["<think>x</think><answer>B</answer>"] * 3 + ["<think>x</think><answer>C</answer>"]
    assert load_rewards(["accuracy", "format"], None, timeout=60).score(texts, columns).total == [2.0, 2.0, 2.0, 1.0]
    assert load_rewards(["choice"], None, timeout=60).score(texts, columns).total == [1.0, 1.0, 1.0, 0.0]
