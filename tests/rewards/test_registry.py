"""`rewards.registry`: rewards are found in the files that list them."""

from pathlib import Path

import pytest

from llamafactory_hind.config.catalogue import Catalogue
from llamafactory_hind.rewards.registry import collect_rewards


def package(folder: Path, name: str, **files: str) -> Catalogue:
    """Write a package of these files and return its catalogue."""
    root = folder / name
    root.mkdir()
    (root / "__init__.py").touch()
    for file, text in files.items():
        (root / f"{file}.py").write_text(text)
    return Catalogue(name, [str(root)], "reward")


def test_every_file_that_lists_rewards_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    files = package(
        tmp_path, "some_rewards", b="REWARDS = {'long': len, 'any': any}", a="REWARDS = {'all': all}", c="x = 1"
    )
    assert collect_rewards(files) == {"all": all, "any": any, "long": len}


def test_one_name_in_two_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    files = package(tmp_path, "twice_named_rewards", a="REWARDS = {'short': len}", b="REWARDS = {'short': min}")
    with pytest.raises(ValueError, match=r"reward 'short': defined in a\.py and in b\.py; rename one of them"):
        collect_rewards(files)
