"""LLaMA Board in a real Chromium: our fields, our check, presets, languages, and what the written command says.

`make test-browser` runs all files here. They need a Chromium (`apt-get install chromium`) and the package `playwright`.
"""

from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.board.fields import board_fields, fields_of
from llamafactory_hind.board.labels import label
from llamafactory_hind.config import LABELS, STAGES
from shared.board import add_to, block, choose, choose_model, language, loaded, open_tab, type_in, until


pytestmark = pytest.mark.browser


def text_of(key: str, language: str = "en") -> str:
    return next(label(field, language) for field in board_fields() if field.key == key)


def visible_keys(page: Any) -> set[str]:
    advanced = page.get_by_role("button", name="Advanced").first
    if advanced.is_visible() and not block(page, text_of("seed")).is_visible():
        advanced.click()
    shown = page.locator("[data-testid=block-info]:visible, label:has(input[type=checkbox]):visible").all_inner_texts()
    return {field.key for field in board_fields() if any(label(field, "en") in text for text in shown)}


def test_fields_follow_the_stage(page: Any) -> None:
    """Exactly those of the stage, and none for a stage of the host, whose RLHF part comes back."""
    for stage in sorted(STAGES):
        choose(page, "Stage", LABELS[stage])
        wanted = {field.key for field in fields_of(stage)}
        until(lambda wanted=wanted: visible_keys(page) == wanted)
        assert not page.get_by_role("button", name="RLHF configurations").is_visible()
    choose(page, "Stage", "DPO")
    page.get_by_role("button", name="Advanced").first.wait_for(state="hidden")
    assert visible_keys(page) == set()
    page.get_by_role("button", name="RLHF configurations").wait_for()


def test_the_check_names_what_is_missing(page: Any) -> None:
    """No `reward_funcs`: said at once and nothing starts; with it, the check is clean and the command has all that was typed."""
    choose(page, "Stage", LABELS["gated_distill"])
    page.get_by_role("button", name="Check").wait_for()
    choose_model(page)
    type_in(page, "Data dir", "world")
    choose(page, "Dataset", "color_train")
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("#hind_log").get_by_text("reward_funcs").first.wait_for()
    add_to(page, text_of("reward_funcs"), "accuracy")
    type_in(page, text_of("teacher"), "base")
    type_in(page, text_of("num_generations"), "4")
    page.get_by_role("button", name="Advanced").first.click()
    page.get_by_label(text_of("hint_tags")).uncheck()
    page.get_by_role("button", name="Advanced · 1 changed").wait_for()
    page.get_by_role("button", name="Check").click()
    page.locator("#hind_status").get_by_text("No problem found").wait_for()
    page.get_by_role("button", name="Preview command").click()
    command = page.locator("#hind_log")
    command.get_by_text("--reward_funcs accuracy").first.wait_for()
    text = command.inner_text()
    assert "--num_generations 4" in text
    assert "--hint_tags False" in text
    assert "kl_beta" not in text
    page.get_by_role("button", name="Reset", exact=True).click()
    page.get_by_role("button", name="Advanced · 1 changed").wait_for(state="hidden")


def test_a_preset_fills_the_form(page: Any) -> None:
    choose(page, "Stage", LABELS["grpo"])
    block(page, "Preset").wait_for()
    choose(page, "Preset", "grpo/qwen2_5_vl_7b.yaml")
    status = page.locator("#hind_status")
    status.get_by_text("is filled in").wait_for()
    assert block(page, text_of("kl_beta")).locator("textarea, input").first.input_value() == "0.04"
    assert block(page, "Learning rate").locator("textarea, input").first.input_value() == "1e-05"


def test_languages_change_our_words_and_keep_the_keys(page: Any) -> None:
    choose(page, "Stage", LABELS["grpo"])
    block(page, text_of("num_generations")).wait_for()
    for chosen, tab in (("zh", "曲线"), ("ru", "Curves"), ("en", "Curves")):
        language(page, chosen)
        block(page, text_of("num_generations", chosen)).wait_for()
        page.get_by_role("tab", name=tab, exact=True).wait_for()


def test_saved_arguments_bring_back_fields_and_dataset(page: Any, home: Path) -> None:
    choose(page, "Stage", LABELS["grpo"])
    block(page, text_of("num_generations")).wait_for()
    choose_model(page)
    type_in(page, "Data dir", "world")
    choose(page, "Dataset", "color_train")
    add_to(page, text_of("reward_funcs"), "accuracy")
    type_in(page, text_of("num_generations"), "6")
    name = block(page, "Config path").locator("input").first.input_value()
    page.get_by_role("button", name="Save arguments").click()
    page.locator("#hind_log").get_by_text(name).first.wait_for()
    text = (home / "llamaboard_config" / name).read_text()
    assert "train.hind_num_generations: '6'" in text
    assert "hind_clip_low" not in text
    with (home / "llamaboard_config" / name).open("a") as file:
        file.write("train.hind_gone: 1\n")
    page.reload()
    loaded(page)
    field = block(page, "Config path").locator("input").first
    field.fill(name)
    field.press("Enter")
    page.get_by_role("button", name="Load arguments").click()
    until(lambda: "color_train" in block(page, "Dataset").inner_text())
    until(lambda: block(page, text_of("num_generations")).locator("textarea, input").first.input_value() == "6")
    page.get_by_text("keys that this version does not know").first.wait_for()
    open_tab(page, "Train")
