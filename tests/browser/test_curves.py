"""Curves in a real Chromium: a loss of 0, a series that begins late, what is wrong, live lines, and names that are markup."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.board import EVIL, block, choose, open_tab, until


pytestmark = pytest.mark.browser


def panel(page: Any, title: str) -> Any:
    """The panel of a title."""
    return page.locator("#hind_curves_page figure").filter(has=page.locator("svg > title", has_text=title)).first


def titles(page: Any) -> list[str]:
    """What the panels are called."""
    return page.evaluate(
        "[...document.querySelectorAll('#hind_curves_page figure > svg > title')].map(e => e.textContent)"
    )


def test_late_series_and_a_loss_of_0_are_drawn_and_new_lines_come_by_themselves(page: Any, home: Path) -> None:
    open_tab(page, "Curves")
    choose(page, "Run", "runs/late")
    until(lambda: "KL and clipping" in titles(page))
    kl = panel(page, "KL and clipping").locator("polyline")
    assert kl.get_attribute("stroke").startswith("#")
    assert len(kl.get_attribute("points").split()) == 4
    assert len(panel(page, "loss").locator("polyline").get_attribute("points").split()) == 8
    assert "step 8 of 9" in page.locator("#hind_curves_status").inner_text()
    with (home / "runs" / "late" / "trainer_log.jsonl").open("a") as file:
        file.write(json.dumps({"current_steps": 9, "total_steps": 9, "loss": 0.0, "entropy": 1.5}) + "\n")
    until(lambda: "entropy" in titles(page))
    assert "finished" in page.locator("#hind_curves_status").inner_text()


def test_runs_are_overlaid_with_tables(page: Any) -> None:
    open_tab(page, "Curves")
    choose(page, "Run", "runs/late")
    choose(page, "Compare with", f"runs/{EVIL}")
    page.get_by_label("Tables").check()
    until(lambda: "loss" in titles(page) and panel(page, "loss").locator("polyline").count() == 2)
    table = panel(page, "loss").locator("table")
    assert table.locator("th[scope=col]").count() == 3
    assert "–" in table.inner_text()  # a step that one of the runs does not have


def test_names_that_are_markup_stay_text(page: Any, browser: Any) -> None:
    """The control page runs the same text, so that the test is known to bite; ours shows it, and asks nobody elsewhere."""
    control = browser.new_page()
    control.set_content(f"<div>{EVIL}</div>")
    until(lambda: control.evaluate("window.PWNED") == 1)
    control.close()
    page.left.clear()
    open_tab(page, "Curves")
    choose(page, "Run", f"runs/{EVIL}")
    until(lambda: EVIL in titles(page))
    page.get_by_text("nothing is learnt").first.wait_for()
    assert page.evaluate("window.PWNED") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.left == []


def test_a_click_on_a_point_opens_the_completions_of_its_step(page: Any) -> None:
    """The middle point of three; filters that were chosen before are gone."""
    open_tab(page, "Completions")
    choose(page, "Run", "runs/gated")
    choose(page, "Source", "hinted")
    page.locator("#hind_completions_status").get_by_text("6 of 31").wait_for()
    open_tab(page, "Curves")
    choose(page, "Run", "runs/gated")
    until(lambda: "reward" in titles(page))
    curve = panel(page, "reward").locator("polyline")
    x, y = curve.evaluate(
        """line => {
            line.scrollIntoView({block: 'center'});
            const place = new DOMPoint(line.points[1].x, line.points[1].y).matrixTransform(line.getScreenCTM());
            return [place.x, place.y];
        }"""
    )
    page.mouse.click(x, y)
    page.locator("#hind_completions_status").get_by_text("10 of 31 completions in 2 groups.").wait_for()
    assert page.locator("#hind_completions_step textarea, #hind_completions_step input").first.input_value() == "2"
    assert page.locator("#hind_completions_run input").first.input_value() == "runs/gated"
    assert set(page.locator(".hc-head > span:first-child").all_inner_texts()) == {"step 2"}


def test_every_control_has_a_name(page: Any) -> None:
    for tab in ("Curves", "Completions", "Synth & Score"):
        open_tab(page, tab)
        block(page, {"Synth & Score": "Pipeline"}.get(tab, "Run")).wait_for()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('[role=tabpanel]:not([style*="none"]) :is(input, textarea, button)')]
                .filter(e => e.offsetParent && e.type !== 'file')
                .filter(e => !(e.getAttribute('aria-label') || e.innerText || e.title || (e.labels && e.labels.length)
                    || e.closest('.block')?.querySelector('[data-testid=block-info]')))
                .map(e => e.outerHTML.slice(0, 120))"""
        )
        assert nameless == []
