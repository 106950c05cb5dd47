"""A folder that `tokenized_path` names is only moved away if it holds tokenised rows."""

from pathlib import Path

import pytest

from llamafactory_hind.config.problem import ConfigError
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
