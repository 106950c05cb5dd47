"""One Board and one Chromium for all files that a process runs; a Board starts when the first test asks for it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.board import EVIL, SECONDS, loaded, opened, running_board, running_browser
from shared.completion_runs import gated_run


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, small_world: Path) -> Path:
    """Where the Board is started: a copy of the small world, a run whose every name is markup, and one that trains."""
    folder = Path(os.environ.get("BOARD_HOME") or tmp_path_factory.mktemp("board"))
    if (folder / "runs").is_dir():  # while writing tests: that of a Board which runs already, see `board`
        return folder
    shutil.copytree(small_world, folder / "world")
    write_log(folder / "runs" / EVIL, [{"loss": 0, EVIL: step, "zero_variance_share": 1.0} for step in (1, 2, 3)])
    late = [{"loss": 0.0, "reward": step / 9, **({"kl": step / 100} if step > 4 else {})} for step in range(1, 9)]
    write_log(folder / "runs" / "late", late)
    gated_run(folder / "runs" / "gated", folder / "runs" / "media")
    write_log(folder / "runs" / "gated", [{"loss": 0.0, "reward": step / 3} for step in (1, 2, 3)])
    return folder


def write_log(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Write the log of a run: a line a step."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = [{"current_steps": step, "total_steps": 9, "elapsed_time": f"0:00:0{step}"} for step in range(1, 10)]
    text = "".join(json.dumps({**place, **line}) + "\n" for place, line in zip(whole, lines, strict=False))
    (folder / "trainer_log.jsonl").write_text(text)


@pytest.fixture(scope="session")
def board(home: Path) -> Iterator[str]:
    """The address of the Board."""
    address = os.environ.get("BOARD_URL")  # while writing tests: one that runs already
    if address:
        yield address
        return
    with running_board(home) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    with running_browser() as found:
        yield found


@pytest.fixture
def page(board: str, browser: Any) -> Iterator[Any]:
    """A page of the Board, loaded; `page.left` has the addresses beyond this machine that it asked for, in vain."""
    context = browser.new_context(viewport={"width": 1400, "height": 1600})
    found = context.new_page()
    found.set_default_timeout(1000 * SECONDS)
    found.left = []

    def note(request: Any) -> None:
        if not request.url.startswith((board, "data:", "blob:")):
            found.left.append(request.url)

    found.on("request", note)
    opened(found, board, loaded)
    yield found
    context.close()
