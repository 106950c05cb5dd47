"""Every claim under "What is guaranteed" of a stage's page names the test that holds it, and the test is there."""

import ast
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "stages").glob("*.md"))
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def claims(page: str) -> list[str]:
    """Return the points of the list under `## What is guaranteed`, each in one line."""
    section = re.search(r"^## What is guaranteed\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    lines = section[1].strip().splitlines() if section else []
    found: list[str] = []
    for line in lines:
        if line.startswith("- "):
            found.append(line)
        elif line.startswith("  ") and found:
            found[-1] += " " + line.strip()
        elif line.strip():
            raise AssertionError(f"under `What is guaranteed`, this is no point of a list: {line}")
    return found


def unheld(claim: str) -> list[str]:
    """Return what is wrong with a claim: no test named, no such file, no such test."""
    named = TEST.findall(claim)
    if not named:
        return ["names no test"]
    wrong = []
    for file, name in named:
        path = ROOT / file
        if not path.is_file():
            wrong.append(f"{file} is not there")
        elif name not in {node.name for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name")}:
            wrong.append(f"{file} has no {name}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_claim_points_to_its_test(page: Path) -> None:
    found = claims(page.read_text(encoding="utf-8"))
    assert found, f"{page.name} has no claim under `## What is guaranteed`"
    wrong = {claim[:60]: problems for claim in found if (problems := unheld(claim))}
    assert not wrong


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ("- It is so.", "names no test"),
        ("- It is so (`tests/test_docs_claims.py`).", "names no test"),
        ("- It is so (`tests/absent.py::test_it`).", "tests/absent.py is not there"),
        ("- It is so (`tests/test_docs_claims.py::test_absent`).", "has no test_absent"),
    ],
)
def test_a_claim_without_its_test_is_seen(claim: str, says: str) -> None:
    assert says in unheld(claim)[0]
    assert not unheld("- It is so (`tests/test_docs_claims.py::test_a_claim_without_its_test_is_seen`).")


def test_claims_are_the_points_of_the_section() -> None:
    page = "# A\n\n## What is guaranteed\n\n- one\n  more\n- two\n\n## Limits\n\n- three\n"
    assert claims(page) == ["- one more", "- two"]
    with pytest.raises(AssertionError, match="no point"):
        claims("## What is guaranteed\n\nAll of it.\n")
