"""Synth & Score in a real Chromium: prompts with pictures, a real run that is stopped and goes on, its dataset, its scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.board import add_to, block, choose, loaded, open_tab, type_in, until


pytestmark = pytest.mark.browser
LONG = 240.0  # seconds for a process that imports torch, on a busy machine


def fill_synth(page: Any, **values: str) -> None:
    open_tab(page, "Synth & Score")
    block(page, "Pipeline").wait_for()
    choose(page, "Pipeline", "answer")
    add_to(page, "Datasets to read", "hindsight_answer_test")
    for title, text in values.items():
        type_in(page, f"· {title}" if page.get_by_text(f"· {title}").count() else title, text)


def job_text(page: Any) -> str:
    return page.locator("#hind_job_page").inner_text()


def test_prompts_are_shown_with_their_pictures_and_what_is_wrong_is_named(page: Any) -> None:
    fill_synth(page, dataset_dir="world", model_name_or_path="world/tiny", template="qwen2_vl")
    page.get_by_role("button", name="Preview prompts").click()
    page.locator("#hind_synth_said").get_by_text("output").first.wait_for()
    type_in(page, "· output", "world/preview.json")
    page.get_by_role("button", name="Preview prompts").click()
    trial = page.locator("#hind_synth_trial")
    until(lambda: trial.locator(".hind-trial").count() == 3)
    pictures = trial.locator("img")
    assert pictures.count() >= 3
    assert all(pictures.nth(n).get_attribute("src").startswith("data:image/jpeg") for n in range(pictures.count()))
    assert "No job yet" in job_text(page)
    choose(page, "· engine", "openai")  # a Board on loopback may call servers
    block(page, "· base_url").wait_for()
    assert not block(page, "· template").is_visible()


@pytest.mark.slow
def test_a_run_is_stopped_goes_on_is_registered_and_scored(page: Any, home: Path) -> None:
    """A real process: it is stopped with rows in its journal, found again after a reload, goes on, and its rows are scored."""
    fill_synth(
        page,
        dataset_dir="world",
        model_name_or_path="world/tiny",
        template="qwen2_vl",
        output="world/said.json",
        max_samples="8",
        batch_size="1",
        knowledge_max_new_tokens="48",
    )
    page.get_by_role("button", name="Start synth").click()
    journal = home / "world" / "said.journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2, LONG)
    page.get_by_role("button", name="Stop", exact=True).click()
    until(lambda: "stopped" in job_text(page))
    kept = journal.read_bytes().count(b"\n")
    assert kept < 8
    until(lambda: f"{kept} rows are kept" in job_text(page))
    page.reload()
    loaded(page)
    open_tab(page, "Synth & Score")
    until(lambda: "stopped" in job_text(page))
    page.get_by_role("button", name="Resume").click()
    until(lambda: "finished" in job_text(page), LONG)
    logs = sorted((home / "llamaboard_jobs").glob("*/log.txt"))
    assert f"8 rows: {kept} reused" in logs[-1].read_text()  # the page shows the end alone
    until(lambda: "Registered as said" in page.locator("#hind_job_result").inner_text())
    assert "said" in json.loads((home / "world" / "dataset_info.json").read_text())
    page.get_by_role("button", name="Use as dataset in Train").click()
    open_tab(page, "Train")
    until(lambda: "said" in block(page, "Dataset").inner_text())
    score(page)


def score(page: Any) -> None:
    """Score what the run wrote; a key that is missing is named first."""
    open_tab(page, "Synth & Score")
    page.get_by_role("button", name="Metrics over predictions: score").click()
    type_in(page, "· predictions", "world/said.json")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator("#hind_score_said").get_by_text("metric").first.wait_for()
    add_to(page, "· metric", "vqa_accuracy")
    page.get_by_role("button", name="Score", exact=True).click()
    table = page.locator("#hind_job_result table")
    table.wait_for(timeout=LONG * 1000)
    assert "vqa_accuracy" in table.inner_text()
    assert table.locator("svg rect").count() == 2
