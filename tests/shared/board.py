"""A Board in a process of its own, and what a reader of its page does: finds a field by its name, chooses, types, waits."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


WAIT = 300.0  # seconds until the Board answers; nearly all of it are imports
EVIL = "<img src=x onerror=window.PWNED=1>"  # a name on Linux may be this
SECONDS = 120.0  # that anything on the page may take, on a busy machine


@contextmanager
def running_board(home: Path, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a Board in a folder, on loopback; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "0",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        **(environ or {}),
    }
    log = home / "board.log"
    with log.open("w") as file:
        command = [str(programs / "llamafactory-cli"), "webui"]
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=file, stderr=file)
        try:
            yield answering(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            process.wait(30)


def answering(address: str, process: "subprocess.Popen[bytes]", log: Path) -> str:
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


@contextmanager
def running_browser() -> Iterator[Any]:
    """Start the Chromium of this machine, without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "No Chromium is there: `apt-get install chromium`."
    alone = (
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # fonts and scripts of others are not waited for
    )
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", alone]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def block(page: Any, title: str) -> Any:
    """The box of a field that can be seen; labels of gradio's boxes contain their help, so that only this finds one."""
    name = page.locator("[data-testid=block-info]:visible").filter(has_text=title).first
    return name.locator("xpath=ancestor::div[contains(concat(' ', @class, ' '), ' block ')][1]")


def opened(page: Any, address: str, seen: Callable[[Any], Any]) -> None:
    """Open a page and wait until it is there; once more where it does not come: a server may answer before it can serve all."""
    from playwright.sync_api import Error

    try:
        page.goto(address)
        seen(page)
    except (Error, AssertionError):
        page.goto(address)
        seen(page)


def loaded(page: Any) -> None:
    """Wait until the host has filled its first values in; its timers never let the network rest."""
    block(page, "Stage").wait_for()
    until(lambda: block(page, "Output dir").locator("input").first.input_value())


def choose(page: Any, title: str, option: str) -> None:
    """Choose an entry of a menu."""
    field = block(page, title).locator("input").first
    pick(field, block(page, title).get_by_role("option", name=option, exact=True))
    if block(page, title).locator(".token").count():
        field.press("Escape")


def pick(field: Any, option: Any) -> None:
    """Open a menu and click an entry; again where the server fills the menu anew meanwhile, or the entry comes a moment later."""
    from playwright.sync_api import Error

    def picked() -> bool:
        field.blur()  # a second click into a focused menu does not open it
        field.click()
        try:
            option.click(timeout=3000)
        except Error:
            return False
        return True

    until(picked)


def language(page: Any, name: str) -> None:
    """Choose the language of the Board, its first field."""
    pick(page.locator("input[role=listbox], input").first, page.get_by_role("option", name=name, exact=True))


def type_in(page: Any, title: str, text: str) -> None:
    """Type into a text field, and leave it."""
    field = block(page, title).locator("textarea, input").first
    field.fill(text)
    field.blur()


def add_to(page: Any, title: str, *words: str) -> None:
    """Add words of one's own to a list."""
    field = block(page, title).locator("input").first
    for word in words:
        field.fill(word)
        field.press("Enter")
    field.press("Escape")


def choose_model(page: Any, path: str = "world/tiny", template: str = "qwen2_vl") -> None:
    """Choose a model of one's own; the host fills in what it remembers of the name a moment later."""
    choose(page, "Model name", "Custom")
    field = block(page, "Model path").locator("textarea, input").first

    def stays() -> bool:
        type_in(page, "Model path", path)
        page.wait_for_timeout(1000)
        return bool(field.input_value() == path)

    until(stays)
    choose(page, "Chat template", template)


def open_tab(page: Any, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).click()


def until(seen: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Wait for something to be true; return it."""
    end = time.monotonic() + seconds
    while True:
        found = seen()
        if found:
            return found
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)
