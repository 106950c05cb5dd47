"""A run does not write into the folder of its data, by any name, nor two things into one folder."""

from pathlib import Path

import pytest

from llamafactory_hind.config.places import place_problems


def found(**settings: str) -> list[str]:
    return [str(problem) for problem in place_problems(settings)]


def test_folders_of_data_are_refused_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for name in ("data", "./data/", "x/../data", "link", str(tmp_path / "link")):
        (problem,) = found(output_dir=name)  # `dataset_dir` is `data` where nobody says otherwise
        assert problem.startswith(f"output_dir: got '{name}'")
        assert "`dataset_dir` is the same" in problem
    (problem,) = found(output_dir="m", dataset_dir="d", media_dir="m")
    assert "`media_dir` is the same" in problem
    (problem,) = found(output_dir="o", tokenized_path="data")
    assert problem.startswith("tokenized_path: ")
    (problem,) = found(output_dir="o", tokenized_path="o/.")
    assert "`output_dir` is the same" in problem


def test_folders_of_their_own_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not found(output_dir="data/out", tokenized_path="tokens", media_dir="data")
    assert not found()
    assert not found(output_dir="a\0b", tokenized_path="")
