"""`importers`: files of exactly the released form to `hindsight` rows that the host's own loader takes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.importers import get_importer, importer_names
from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.pipelines.runner.rows import read_rows
from shared.formats import FormatSetup


ROOT = Path(__file__).resolve().parents[2]


def jpeg(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), "green").save(path)


def okvqa_questions() -> dict[str, Any]:
    """As OpenEnded_mscoco_train2014_questions.json."""
    return {
        "info": {"description": "OK-VQA", "version": "1.0", "year": 2019},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {"url": "", "name": "CC BY 4.0"},
        "data_subtype": "train2014",
        "questions": [
            {"image_id": 51606, "question": "What is the hairstyle of the blond called?", "question_id": 516065},
            {"image_id": 42, "question": "What vehicle is this?", "question_id": 420000},
        ],
    }


def okvqa_annotations() -> dict[str, Any]:
    """As mscoco_train2014_annotations.json; in the first question two answers are as frequent, pony tail stands first."""
    given = {
        420000: ["cab"] * 2 + ["taxi"] * 6 + ["car"] * 2,
        516065: ["pony tail"] * 4 + ["ponytail"] * 4 + ["bun"] * 2,
    }
    notes = [
        {
            "image_id": image_id,
            "answer_type": "other",
            "question_type": kind,
            "question_id": question_id,
            "answers": [
                {"answer_id": number, "raw_answer": f"{answer}s", "answer_confidence": "yes", "answer": answer}
                for number, answer in enumerate(given[question_id], start=1)
            ],
            "confidence": 3,
        }
        for question_id, image_id, kind in [
            (420000, 42, "one"),
            (516065, 51606, "seven"),
        ]  # another order than the questions
    ]
    return {
        "info": {"description": "OK-VQA", "version": "1.0", "year": 2019},
        "license": {"url": "", "name": "CC BY 4.0"},
        "data_subtype": "train2014",
        "data_type": "mscoco",
        "question_types": {"one": "Vehicles and Transportation", "seven": "People and Everyday life"},
        "annotations": notes,
    }


def aokvqa_entries() -> list[dict[str, Any]]:
    """As aokvqa_v1p0_val.json."""
    return [
        {
            "split": "val",
            "image_id": 299207,
            "question_id": "22MexNkBPpdZGX6sxbxVBH",
            "question": "What is the man by the bags awaiting?",
            "choices": ["skateboarder", "train", "delivery", "cab"],
            "correct_choice_idx": 3,
            "direct_answers": ["ride", "ride", "bus", "taxi", "travelling", "traffic", "taxi", "cab", "cab", "ride"],
            "difficult_direct_answer": False,
            "rationales": ["A train would not be on the street.", "He waits for a cab.", "Bags."],
        },
        {
            "split": "val",
            "image_id": 7,
            "question_id": "2Aq5RiEn7eyfWjEbpuYy27",
            "question": "Where is he?",
            "choices": ["home", "work", "street", "sea"],
            "correct_choice_idx": 0,
            "direct_answers": ["home"] * 10,
            "difficult_direct_answer": True,
            "rationales": ["A bed.", "A lamp.", "A cat."],
        },
    ]


class Release:
    """Released files in a folder, imported by the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.questions, self.annotations, self.entries = okvqa_questions(), okvqa_annotations(), aokvqa_entries()
        for name in ("COCO_train2014_000000051606.jpg", "COCO_train2014_000000000042.jpg"):
            jpeg(folder / "coco" / "train2014" / name)
        for name in ("000000299207.jpg", "000000000007.jpg"):
            jpeg(folder / "coco" / "val2017" / name)

    def run(self, family: str, *words: str) -> list[dict[str, Any]]:
        """Write the released files, import them and return the rows."""
        contents = {"q.json": self.questions, "a.json": self.annotations, "v.json": self.entries}
        for name, content in contents.items():
            (self.folder / name).write_text(json.dumps(content), encoding="utf-8")
        files = {
            "okvqa": ["--questions", str(self.folder / "q.json"), "--annotations", str(self.folder / "a.json")],
            "aokvqa": ["--file", str(self.folder / "v.json")],
        }[family]
        out = self.folder / "rows.json"
        images = [] if "--images" in words else ["--images", str(self.folder / "coco")]
        main([family, *files, *images, "--out", str(out), *words])
        return json.loads(out.read_text(encoding="utf-8"))

    def refusal(self, family: str, *words: str) -> str:
        """Return what the command says when it stops; nothing was written."""
        with pytest.raises(SystemExit) as stopped:
            self.run(family, *words)
        assert not (self.folder / "rows.json").exists()
        assert not (self.folder / "dataset_info.json").exists()
        return str(stopped.value)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_okvqa_rows(release: Release) -> None:
    """The most common `answer` (not `raw_answer`) wins, the first of equals; questions keep their order."""
    first, second = release.run("okvqa")
    assert first == {
        "id": "okvqa-516065",
        "images": ["train2014/COCO_train2014_000000051606.jpg"],
        "question": "What is the hairstyle of the blond called?",
        "answer": "pony tail",
        "answers": ["pony tail"] * 4 + ["ponytail"] * 4 + ["bun"] * 2,
        "choices": None,
        "question_type": "seven",
        "answer_type": "other",
        "image_id": 51606,
        "question_type_name": "People and Everyday life",
    }
    assert (second["id"], second["answer"], second["question_type"]) == ("okvqa-420000", "taxi", "one")


def test_pictures_may_lie_flat(release: Release) -> None:
    rows = release.run("okvqa", "--images", str(release.folder / "coco" / "train2014"))
    assert rows[1]["images"] == ["COCO_train2014_000000000042.jpg"]
    release.entries[0]["split"] = "train"  # its picture then lies in another folder, unless the folder is flat
    rows = release.run("aokvqa", "--images", str(release.folder / "coco" / "val2017"))
    assert rows[0]["images"] == ["000000299207.jpg"]


def test_aokvqa_rows_of_both_settings(release: Release) -> None:
    """Direct answers: ride three times, taxi and cab twice. The prompt shows `choices`, so they go where they are not asked."""
    entry = release.entries[0]
    row = release.run("aokvqa")[0]
    assert row == {
        "id": "aokvqa-22MexNkBPpdZGX6sxbxVBH",
        "images": ["val2017/000000299207.jpg"],
        "question": entry["question"],
        "answer": "cab",
        "answers": entry["direct_answers"],
        "choices": entry["choices"],
        "correct_choice": "cab",
        "difficult_direct_answer": False,
        "rationales": entry["rationales"],
        "split": "val",
        "image_id": 299207,
    }
    direct = release.run("aokvqa", "--setting", "direct_answer")[0]
    assert direct == row | {"answer": "ride", "choices": None, "answer_choices": entry["choices"]}


@pytest.mark.parametrize(
    ("family", "words"), [("okvqa", []), ("aokvqa", []), ("aokvqa", ["--setting", "direct_answer"])]
)
def test_rows_load_through_the_host_and_through_the_pipelines(release: Release, family: str, words: list[str]) -> None:
    """The real converter with all its checks, pictures decoded; other columns travel along."""
    rows = release.run(family, *words)
    setup = FormatSetup(release.folder, media_dir=str(release.folder / "coco"))
    aligned = setup.align(None, file_name="rows.json", target="answer")
    assert [row["_response"][0]["content"] for row in aligned] == [row["answer"] for row in rows]
    assert [row["_images"] for row in aligned] == [[str(release.folder / "coco" / row["images"][0])] for row in rows]
    assert all(
        ("Choices: (A)" in row["_prompt"][0]["content"]) == (family == "aokvqa" and not words) for row in aligned
    )
    extra = "question_type" if family == "okvqa" else "rationales"
    assert [json.loads(row["_columns"])[extra] for row in aligned] == [row[extra] for row in rows]
    info = {"mine": {"file_name": "rows.json", "formatting": "hindsight"}}
    (release.folder / "dataset_info.json").write_text(json.dumps(info))
    good, failures = read_rows(
        ["mine"], dataset_dir=str(release.folder), media_dir=str(release.folder / "coco"), max_samples=None
    )
    assert (len(good), failures) == (2, [])


def test_registration_keeps_other_entries_and_makes_a_missing_file(release: Release, capsys) -> None:
    info_file = release.folder / "data" / "dataset_info.json"
    registered = ["--dataset-dir", str(release.folder / "data"), "--name", "okvqa_train", "--target", "knowledge"]
    release.run("okvqa", *registered)
    entry = {"file_name": "../rows.json", "formatting": "hindsight", "target": "knowledge"}
    assert json.loads(info_file.read_text()) == {"okvqa_train": entry}
    told = capsys.readouterr()
    assert "Registered as `okvqa_train`" in told.out
    assert "The rows have no `knowledge` yet" in told.err
    release.run("okvqa", "--dataset-dir", str(release.folder / "data"))
    assert json.loads(info_file.read_text()) == {"okvqa_train": entry, "rows": entry | {"target": "answer"}}


def test_a_broken_dataset_info_stops_before_anything_is_written(release: Release) -> None:
    (release.folder / "data").mkdir()
    (release.folder / "data" / "dataset_info.json").write_text("{")
    assert "dataset_info.json" in release.refusal("okvqa", "--dataset-dir", str(release.folder / "data"))


def test_missing_pictures_are_counted_and_named_or_left_out(release: Release, capsys) -> None:
    missing = release.folder / "coco" / "train2014" / "COCO_train2014_000000051606.jpg"
    missing.unlink()
    message = release.refusal("okvqa")
    assert "The pictures of 1 of 2 questions are missing" in message
    assert "q.json, questions[0]: " in message
    assert "COCO_train2014_000000051606.jpg" in message
    assert "--skip-missing-images" in message
    rows = release.run("okvqa", "--skip-missing-images")
    assert [row["id"] for row in rows] == ["okvqa-420000"]
    assert "1 rows, 1 left out" in capsys.readouterr().out


def test_pictures_that_are_all_missing_are_never_left_out(release: Release) -> None:
    (release.folder / "empty").mkdir()
    words = ["--images", str(release.folder / "empty"), "--skip-missing-images"]
    assert "The pictures of 2 of 2 questions" in release.refusal("okvqa", *words)
    assert "--images is not a folder" in release.refusal("okvqa", "--images", str(release.folder / "none"))


def unlabel(entry: dict[str, Any]) -> None:
    """Make an entry one of the released test split."""
    entry["split"] = "test"
    for field in ("correct_choice_idx", "direct_answers", "rationales"):
        del entry[field]


@pytest.mark.parametrize("setting", ["multiple_choice", "direct_answer"])
def test_the_test_split_has_questions_without_answers(release: Release, capsys, setting: str) -> None:
    """Pipelines that answer take the rows; those that need an answer, and training, do not."""
    for entry in release.entries:
        unlabel(entry)
    (release.folder / "coco" / "val2017").rename(release.folder / "coco" / "test2017")
    rows = release.run("aokvqa", "--setting", setting, "--dataset-dir", str(release.folder), "--name", "test")
    assert [row["answer"] for row in rows] == [None, None]
    assert rows[0]["images"] == ["test2017/000000299207.jpg"]
    assert rows[0]["choices" if setting == "multiple_choice" else "answer_choices"] == release.entries[0]["choices"]
    assert not {"correct_choice", "rationales"} & set(rows[0])
    assert "2 rows have no answer" in capsys.readouterr().err
    places = {"dataset_dir": str(release.folder), "media_dir": str(release.folder / "coco"), "max_samples": None}
    counts = [
        tuple(map(len, read_rows(["test"], **places, needs_answer=needs_answer))) for needs_answer in (False, True)
    ]
    assert counts == [(2, 0), (0, 2)]


def test_a_file_in_which_some_answers_are_missing_is_refused(release: Release) -> None:
    unlabel(release.entries[1])
    message = release.refusal("aokvqa")
    assert "1 problem in the released files" in message
    assert "v.json, entry 1, fields `correct_choice_idx` and `direct_answers`: got nothing" in message


def test_all_problems_of_a_release_are_told_at_once(release: Release) -> None:
    entries = release.entries
    entries.append(copy.deepcopy(entries[0]) | {"correct_choice_idx": 4})
    entries[1] |= {"choices": ["a", "", 3, "b"], "difficult_direct_answer": "no", "image_id": "7"}
    message = release.refusal("aokvqa")
    assert "6 problems" in message
    assert "entry 1, field `choices[1]`: got '', expected non-empty text" in message
    assert "entry 1, field `choices[2]`: got 3, expected non-empty text" in message
    assert "entry 1, field `difficult_direct_answer`: got 'no', expected true or false" in message
    assert "entry 1, field `image_id`: got '7', expected a whole number" in message
    assert "entry 2, field `correct_choice_idx`: got 4, expected an index of the 4 choices" in message
    assert "entry 2, field `question_id`: got 'aokvqa-22MexNkBPpdZGX6sxbxVBH'" in message


def test_files_of_okvqa_that_do_not_belong_together_are_refused(release: Release) -> None:
    release.questions["questions"].append({"image_id": 42, "question": "Who?", "question_id": 9})
    release.annotations["annotations"][1]["image_id"] = 3
    release.annotations["annotations"][0]["answers"][4]["answer"] = None
    message = release.refusal("okvqa")
    assert "q.json, questions[2], field `question_id`: 9 has no annotation" in message
    assert "a.json, annotations[1], field `image_id`: got 3, expected 51606" in message
    assert "a.json, annotations[0].answers[4], field `answer`: got nothing, expected non-empty text" in message
    release.annotations["data_subtype"] = "val2014"
    assert "field `data_subtype`: got 'val2014', expected 'train2014'" in release.refusal("okvqa")


def test_twins_of_okvqa_are_refused(release: Release) -> None:
    release.questions["questions"].append(release.questions["questions"][0])
    assert "q.json, questions[2], field `question_id`" in release.refusal("okvqa")
    release.questions["questions"].pop()
    release.annotations["annotations"].append(release.annotations["annotations"][0])
    assert "a.json, annotations[2], field `question_id`: got 420000" in release.refusal("okvqa")


def test_a_file_of_another_form_is_refused(release: Release) -> None:
    release.entries = {"questions": []}
    assert "expected a list at the top level" in release.refusal("aokvqa")
    del release.questions["questions"]
    assert "q.json, field `questions`: got nothing, expected a list with entries" in release.refusal("okvqa")


def test_text_that_the_format_refuses_is_refused(release: Release) -> None:
    release.entries[0]["question"] = "What is <image> in <image>?"
    message = release.refusal("aokvqa")
    assert "v.json, entry 0, field `question`: got 2 <image> in the question and 1 entries in `images`" in message


@pytest.mark.parametrize("name", importer_names())
def test_every_family_has_its_parts_and_a_place_in_the_docs(name: str) -> None:
    importer = get_importer(name)
    for part in ("SUMMARY", "add_arguments", "read_entries"):
        assert hasattr(importer, part), f"importers/{name}.py lacks `{part}`"
    assert f"importers {name}" in (ROOT / "docs" / "importers.md").read_text(encoding="utf-8")


def test_as_a_module_without_the_host(release: Release, run_python) -> None:
    release.run("aokvqa")  # writes the released files
    out = release.folder / "again.jsonl"
    files = ["--file", str(release.folder / "v.json"), "--images", str(release.folder / "coco"), "--out", str(out)]
    finished = run_python("-m", "llamafactory_hind.importers", "aokvqa", *files)
    assert finished.returncode == 0, finished.stderr
    code = (
        f"import sys; from llamafactory_hind.importers.__main__ import main; main({['aokvqa', *files]!r});"
        "assert not {'torch', 'transformers', 'datasets', 'llamafactory'} & set(sys.modules)"
    )
    finished = run_python("-c", code)
    assert finished.returncode == 0, finished.stderr
    assert [json.loads(line)["answer"] for line in out.read_text().splitlines()] == ["cab", "home"]
