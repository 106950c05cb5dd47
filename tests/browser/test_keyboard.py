"""Our tabs without a mouse: every control is reached by Tab, in the order of the page, and does by keys what a click does."""

from typing import Any

import pytest

from shared.board import block, choose, open_tab, until


pytestmark = pytest.mark.browser
MOST = 300  # presses of Tab in one tab of the Board
STOPS = """() => {
    const panel = [...document.querySelectorAll('[role=tabpanel]')].find(one => one.offsetParent && one.querySelector('ID'));
    const all = panel.querySelectorAll('input, textarea, button, summary, select, [tabindex]');
    return [...all].filter(one => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.tabIndex >= 0)
        .filter(one => !(one.type === 'radio' && !one.checked))
        .filter(one => { const place = one.getBoundingClientRect(); return place.width > 1 && place.right > 0; });
}"""
TABS = {"Curves": "#hind_curves_page", "Completions": "#hind_completions_html", "Synth & Score": "#hind_job_page"}


def enter(page: Any, tab: str) -> None:
    """Open a tab by keyboard."""
    page.get_by_role("tab", name=tab, exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(TABS[tab]).wait_for(state="attached")


@pytest.mark.parametrize("tab", sorted(TABS))
def test_tab_reaches_every_control_in_order(page: Any, tab: str) -> None:
    enter(page, tab)
    block(page, {"Synth & Score": "Pipeline"}.get(tab, "Run")).wait_for()
    if tab != "Synth & Score":
        choose(page, "Run", "runs/gated")
        until(lambda: page.locator(f"{TABS[tab]} button, {TABS[tab]} figure").count())
    if tab == "Curves":
        page.get_by_label("Live").uncheck()
    stops = STOPS.replace("ID", TABS[tab])
    wanted = page.evaluate(
        f"() => {{ const all = ({stops})(); all.forEach((one, n) => one.dataset.stop = n); return all.length; }}"
    )
    assert 5 < wanted < MOST
    page.get_by_role("tab", name=tab, exact=True).focus()
    reached: list[int] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement.dataset.stop")
        if at is not None and int(at) not in reached:
            reached.append(int(at))
        if len(reached) == wanted:
            break
    missed = page.evaluate(
        "seen => [...document.querySelectorAll('[data-stop]')].filter(one => !seen.includes(Number(one.dataset.stop)))"
        ".map(one => one.outerHTML.slice(0, 150))",
        reached,
    )
    assert missed == []
    assert reached == sorted(reached)


def test_curves_open_completions_by_keyboard(page: Any) -> None:
    enter(page, "Curves")
    choose(page, "Run", "runs/gated")
    page.get_by_label("Tables").focus()
    page.keyboard.press("Space")
    step = page.locator("#hind_curves_page button[data-hind-step='3']").first
    step.wait_for()
    step.focus()
    page.keyboard.press("Enter")
    page.locator("#hind_completions_status").get_by_text("11 of 31 completions in 3 groups.").wait_for()


def test_keys_of_the_completions(page: Any) -> None:
    """Arrows turn pages, j and k go along the groups, / goes to the text, b hides boxes; in a field they are letters."""
    enter(page, "Completions")
    choose(page, "Run", "runs/gated")
    status = page.locator("#hind_completions_status")
    status.get_by_text("31 of 31").wait_for()
    page.locator("#hind_completions_view").get_by_text("list", exact=True).click()
    status.get_by_text("Page 1 of 2.").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    status.get_by_text("Page 2 of 2.").wait_for()
    page.keyboard.press("ArrowLeft")
    status.get_by_text("Page 1 of 2.").wait_for()
    page.locator("#hind_completions_view").get_by_text("groups", exact=True).click()
    page.locator(".hc-card").nth(6).wait_for()
    page.evaluate("document.activeElement.blur()")
    top = "one => Math.abs(one.getBoundingClientRect().top) < 5"
    for key, card in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        until(lambda card=card: page.locator(".hc-card").nth(card).evaluate(top))
    page.keyboard.press("b")
    page.locator(".hc-noboxes").wait_for()
    page.keyboard.press("/")
    text = page.locator("#hind_completions_text textarea, #hind_completions_text input").first
    until(lambda: text.evaluate("one => one === document.activeElement"))
    page.keyboard.type("b/j")
    assert text.input_value() == "b/j"
    history = page.get_by_role("button", name="history of the row").first
    open_tab(page, "Completions")
    history.focus()
    page.keyboard.press("Enter")
    status.get_by_text("groups, the newest first.").wait_for()
