"""A folder that `tokenized_path` names is only moved away if it holds tokenised rows."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.formats.problems import NoRowsLeft
from llamafactory_hind.trainers import rows
from llamafactory_hind.trainers.rows import _set_aside_if_stale


@pytest.mark.parametrize("name", ["made_from.json", "dataset_dict.json", "state.json"])
def test_a_stale_copy_is_moved(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / name).write_text("{}")
    _set_aside_if_stale(folder, {"stage": "kepo"})
    assert not folder.exists()
    assert (tmp_path / "tokens.stale" / name).is_file()


def test_any_other_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(ConfigError, match="It holds something else"):
        _set_aside_if_stale(tmp_path, {"stage": "kepo"})
    assert (tmp_path / "dataset_info.json").is_file()


@pytest.mark.parametrize(
    ("message", "kind"), [("Cannot find valid samples, check it.", NoRowsLeft), ("x", RuntimeError)]
)
def test_where_no_row_is_left_the_side_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception]
) -> None:
    """The host says neither which dataset nor why."""

    def get_dataset(*args: object, **kwargs: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(rows, "get_dataset", get_dataset)
    (tmp_path / "bad_rows").mkdir()
    (tmp_path / "bad_rows" / "d.cutoff_16.jsonl").write_text("{}\n")
    args = SimpleNamespace(
        data=SimpleNamespace(dataset=["d"], eval_dataset=None, tokenized_path=None),
        training=SimpleNamespace(output_dir=str(tmp_path)),
        finetuning=SimpleNamespace(stage="grpo"),
        model=None,
    )
    with pytest.raises(kind) as error:
        rows.read_rows(args, None, {})
    assert kind is RuntimeError or f"Dataset d: no row is left, each one is bad; see {tmp_path}" in str(error.value)
