"""A real run from the page: seen while it trains, after a reload, and aborted; and one that fails says why first."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.board.fields import board_fields
from llamafactory_hind.board.labels import label
from llamafactory_hind.config import LABELS
from shared.board import add_to, block, choose, choose_model, loaded, open_tab, type_in, until


pytestmark = pytest.mark.browser
LONG = 300.0  # seconds for a process that imports torch, on a busy machine


def field(key: str) -> str:
    return next(label(entry, "en") for entry in board_fields() if entry.key == key)


def fill_train(page: Any, **values: str) -> None:
    choose(page, "Stage", LABELS["grpo"])
    block(page, field("num_generations")).wait_for()
    choose_model(page)
    choose(page, "Finetuning method", "full")
    choose(page, "Compute type", "fp32")
    type_in(page, "Data dir", "world")
    choose(page, "Dataset", "color_train")
    add_to(page, field("reward_funcs"), "accuracy")
    for key, value in {"num_generations": "2", "max_new_tokens": "4", "media_dir": "world", **values}.items():
        type_in(page, field(key), value)


@pytest.mark.slow
def test_a_run_is_seen_while_it_trains_after_a_reload_and_is_aborted(page: Any, home: Path) -> None:
    fill_train(page, max_steps="400")
    name = block(page, "Output dir").locator("input").first.input_value()
    page.get_by_role("button", name="Start", exact=True).click()
    log = home / "saves" / "Custom" / "full" / name / "trainer_log.jsonl"
    until(lambda: log.exists() and log.read_text().count("\n") >= 2, LONG)
    page.reload()
    loaded(page)
    until(lambda: "color_train" in block(page, "Dataset").inner_text())
    assert block(page, "Stage").locator("input").first.input_value() == LABELS["grpo"]
    box = page.locator("#hind_log")
    until(lambda: len(box.inner_text()) > 2000)
    assert box.bounding_box()["height"] <= 401
    page.get_by_role("button", name="Jump to the end of the log").click()
    until(lambda: box.evaluate("e => e.scrollTop + e.clientHeight >= e.scrollHeight - 40 && e.scrollTop > 0"))
    open_tab(page, "Curves")
    page.get_by_role("button", name="List the runs again").click()
    choose(page, "Run", f"saves/Custom/full/{name}")
    status = page.locator("#hind_curves_status")
    until(lambda: "running, step" in status.inner_text().replace(";", ","))
    open_tab(page, "Train")
    page.get_by_role("button", name="Abort").click()
    until(lambda: "Finished." in box.inner_text() or "Ready." in box.inner_text(), LONG)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["current_steps"] < 400


@pytest.mark.slow
def test_a_run_that_fails_says_why_first(page: Any, home: Path) -> None:
    """Rows that the run finds out about: the reason is above everything else, and wrapped."""
    fill_train(page, max_steps="1", media_dir="absent")
    page.get_by_role("button", name="Start", exact=True).click()
    box = page.locator("#hind_log")
    until(lambda: "Exit code" in box.inner_text(), LONG)
    first = box.locator("li").first
    assert first.inner_text()
    reason, stream = first.bounding_box(), box.locator("pre").first.bounding_box()
    assert reason["y"] < stream["y"]
    assert reason["width"] <= box.bounding_box()["width"]
