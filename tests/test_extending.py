"""Every example of `docs/extending.md` is written into a copy of the package and run there, as a newcomer would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_architecture import violations

from shared.openai_server import OpenAIServer


ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llamafactory_hind"
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
URL = "http://localhost:8000/v1"  # of the page
KINDS = (
    *("a stage", "a reward", "a pipeline", "an importer"),
    *("a metric", "a row format", "a kind of teacher", "an engine"),
)
RUN_ALL = """
import json, sys, traceback
errors = {}
for title, code in json.load(open("try.json")).items():
    try:
        exec(compile(code, title, "exec"), {"__name__": "__main__"})
    except BaseException:
        errors[title] = traceback.format_exc()
json.dump(errors, open("errors.json", "w"))
"""


@dataclass(frozen=True)
class Section:
    """One kind of extension.

    Attributes:
        files: path below the root of the repository -> text.
        code: of its `try it`.
    """

    files: dict[str, str]
    code: str


def read_page() -> dict[str, Section]:
    """Return title -> section, in the order of the page."""
    sections = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        blocks = BLOCK.findall(part)
        files = {mark.removeprefix("file="): text for _, mark, text in blocks if mark.startswith("file=")}
        trials = [text for _, mark, text in blocks if mark == "try"]
        assert len(files) + len(trials) == len(blocks), "every block is a file or a `try`"
        sections[part.partition("\n")[0].lower()] = Section(files, "\n".join(trials))
    return sections


SECTIONS = read_page()
FILES = {path: text for section in SECTIONS.values() for path, text in section.files.items()}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Write all files into a copy of the package, run every `try it` in one process there, and return what failed."""
    copy = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in FILES.items():
        assert not (copy / path).exists(), f"{path} is taken"
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    with OpenAIServer() as server:
        trials = {title: section.code.replace(URL, server.url) for title, section in SECTIONS.items()}
        (copy / "try.json").write_text(json.dumps(trials))
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run(
            [sys.executable, "-c", RUN_ALL], cwd=copy, env=environment, text=True, capture_output=True, timeout=600
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((copy / "errors.json").read_text())


def test_the_page_has_every_kind() -> None:
    assert tuple(SECTIONS) == KINDS
    assert all(section.files and "assert" in section.code for section in SECTIONS.values())


@pytest.mark.slow
@pytest.mark.parametrize("title", KINDS)
def test_an_example_runs(errors: dict[str, str], title: str) -> None:
    assert title not in errors, errors[title]


@pytest.mark.parametrize("path", sorted(path for path in FILES if path.startswith(PACKAGE) and path.endswith(".py")))
def test_an_example_keeps_to_the_plan_of_imports(path: str) -> None:
    assert not violations(path.removeprefix(f"{PACKAGE}/"), FILES[path])


def test_no_example_is_in_the_checkout() -> None:
    """What the examples import is then the copy."""
    assert not any((ROOT / path).exists() for path in FILES)


def test_an_example_that_fails_is_seen(tmp_path: Path) -> None:
    (tmp_path / "try.json").write_text(
        json.dumps({"right": "assert True", "wrong": "assert 1 == 2", "ends": "exit()"})
    )
    subprocess.run([sys.executable, "-c", RUN_ALL], cwd=tmp_path, check=True)
    assert list(json.loads((tmp_path / "errors.json").read_text())) == ["wrong", "ends"]
