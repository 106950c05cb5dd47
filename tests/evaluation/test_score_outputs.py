"""`score` and the importers write over nothing that they read, and nothing of others."""

import json
from pathlib import Path

import pytest

from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.importers.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"id": "a", "question": "Which?", "answer": "cat", "answers": ["cat"] * 10}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "formatting": "hindsight"}}))
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "a", "prediction": "cat"}) + "\n")
    return tmp_path


def score(folder: Path, *more: str) -> None:
    given = ["metric=vqa_accuracy", f"predictions={folder / 'p.jsonl'}", "dataset=d", f"dataset_dir={folder}"]
    run_score([*given, *more])


def refused(folder: Path, *more: str) -> str:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as error:
        score(folder, *more)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return str(error.value)


def test_score_takes_no_file_of_others(folder: Path) -> None:
    (folder / "link.json").symlink_to("d.json")
    assert "`dataset: d` is read from it" in refused(folder, f"output={folder / 'link.json'}")
    assert "dataset_info.json is read" in refused(folder, f"output={folder / 'dataset_info.json'}")
    (folder / "n.json").write_text("{}")
    assert "`score` did not write what is there" in refused(folder, f"output={folder / 'n.json'}")
    (folder / "s.questions.jsonl").hardlink_to(folder / "p.jsonl")
    assert "`predictions` is read from it" in refused(folder, f"output={folder / 's.json'}")
    for _ in range(2):
        score(folder)
    assert json.loads((folder / "p.score.json").read_text())["metrics"]["vqa_accuracy"]["score"] == 1.0
    (folder / "p.score.json").write_text("my notes")
    assert "was changed since" in refused(folder)


def test_importers_take_no_file_of_others(tmp_path: Path) -> None:
    image = tmp_path / "COCO_train2014_000000000001.jpg"
    image.touch()
    questions = {"questions": [{"question_id": 1, "image_id": 1, "question": "Which?"}], "data_subtype": "train2014"}
    answers = [{"answer": "cat"} for _ in range(10)]
    annotations = {"annotations": [{"question_id": 1, "image_id": 1, "answers": answers}], "data_subtype": "train2014"}
    (tmp_path / "q.json").write_text(json.dumps(questions))
    (tmp_path / "a.json").write_text(json.dumps(annotations))
    info = {"mine": {"file_name": "mine.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    given = ["okvqa", "--questions", f"{tmp_path}/q.json", "--annotations", f"{tmp_path}/a.json"]
    given += ["--images", str(tmp_path), "--dataset-dir", str(tmp_path)]
    (tmp_path / "link.json").symlink_to("q.json")
    for out, more, said in (
        ("link.json", [], "--questions is read from it"),
        ("mine.json", ["--name", "other"], "belongs to the data set `mine`"),
        ("new.json", ["--name", "mine"], "That name belongs to"),
        ("dataset_info.json", [], "dataset_info.json is read from it"),
    ):
        with pytest.raises(SystemExit) as error:
            main([*given, "--out", f"{tmp_path}/{out}", *more])
        assert said in str(error.value), out
    assert json.loads((tmp_path / "q.json").read_text()) == questions
    assert json.loads((tmp_path / "dataset_info.json").read_text()) == info
    for _ in range(2):
        main([*given, "--out", f"{tmp_path}/rows.json"])
    assert json.loads((tmp_path / "dataset_info.json").read_text())["rows"]["file_name"] == "rows.json"
