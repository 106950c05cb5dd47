"""LLaMA Board in a real Chromium: our fields, our check, and what the written command says.

`make test-browser` runs it. It needs a Chromium (`apt-get install chromium`) and the package `playwright`.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.board.fields import board_fields, fields_of
from llamafactory_hind.board.labels import label
from llamafactory_hind.config import LABELS, STAGES


pytestmark = pytest.mark.browser
WAIT = 180.0  # seconds until the Board answers; nearly all of it are imports


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Board with one dataset for each kind of rows."""
    folder = tmp_path_factory.mktemp("board")
    info = {
        "prompts": {"file_name": "p.json", "formatting": "rollout"},
        "pairs": {"file_name": "q.json", "ranking": True},
    }
    (folder / "data").mkdir()
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("llamafactory-cli")), "webui"]
    environment = os.environ | {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield wait_for(f"http://127.0.0.1:{port}", process, folder / "log")
        finally:
            process.terminate()
            process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return address
    raise AssertionError(f"The Board did not answer within {WAIT:.0f} s: {log.read_text()[-2000:]}")


@pytest.fixture
def page(board: str) -> Iterator[Any]:
    """A page of the Board, loaded."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser_path, "No Chromium is there: `apt-get install chromium`."
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=flags)
        found = browser.new_page(viewport={"width": 1400, "height": 2000})
        found.goto(board)
        block(found, "Stage").wait_for()
        yield found
        browser.close()


def block(page: Any, title: str) -> Any:
    """The box of a field; labels of gradio's boxes contain their help, so that only this finds one."""
    name = page.locator("[data-testid=block-info]").filter(has_text=title).first
    return name.locator("xpath=ancestor::div[contains(concat(' ', @class, ' '), ' block ')][1]")


def choose_stage(page: Any, title: str) -> None:
    block(page, "Stage").locator("input").click()
    page.get_by_role("option", name=title, exact=True).click()


def text_of(page: Any, key: str) -> str:
    return next(label(field, "en") for field in board_fields() if field.key == key)


def visible_keys(page: Any) -> set[str]:
    advanced = page.get_by_role("button", name="Advanced")
    if advanced.is_visible() and not block(page, "share_prefix").is_visible():
        advanced.click()
    shown = page.locator("[data-testid=block-info]:visible, label:has(input[type=checkbox]):visible").all_inner_texts()
    return {field.key for field in board_fields() if any(label(field, "en") in text for text in shown)}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_fields_follow_the_stage(page: Any, stage: str) -> None:
    choose_stage(page, LABELS[stage])
    page.get_by_role("button", name="Advanced").wait_for()
    deadline = time.monotonic() + 20
    wanted = {field.key for field in fields_of(stage)}
    while visible_keys(page) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert visible_keys(page) == wanted


def test_a_stage_of_the_host_shows_none(page: Any) -> None:
    choose_stage(page, LABELS["grpo"])
    page.get_by_role("button", name="Advanced").wait_for()
    choose_stage(page, "DPO")
    page.get_by_role("button", name="Advanced").wait_for(state="hidden")
    assert visible_keys(page) == set()


def test_the_check_names_what_is_missing(page: Any) -> None:
    choose_stage(page, LABELS["grpo"])
    page.get_by_role("button", name="Check").wait_for()
    block(page, "Model path").locator("textarea, input").first.fill("some/model")
    name = block(page, "Model name").locator("input")
    name.click()
    page.get_by_role("option", name="Custom", exact=True).click()
    block(page, "Dataset").locator("input").click()
    page.get_by_role("option", name="prompts", exact=True).click()
    block(page, "Model path").locator("textarea, input").first.fill("some/model")
    page.get_by_role("button", name="Check").click()
    page.locator("#hind_status").get_by_text("reward_funcs").first.wait_for(timeout=30000)
    names = block(page, text_of(page, "reward_funcs")).locator("input")
    names.fill("accuracy")
    names.press("Enter")
    page.get_by_role("button", name="Check").click()
    page.locator("#hind_status").get_by_text("No problem found").wait_for(timeout=30000)
    page.get_by_role("button", name="Preview command").click()
    page.get_by_text("--reward_funcs accuracy").first.wait_for()
