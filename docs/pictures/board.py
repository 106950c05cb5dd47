"""Makes the pictures of docs/board.md anew: every tab of ours in a real Chromium, over runs of the offline world.

`make pictures` calls it. The checkpoint is the trained one of `make demo` where that is there, else the untrained one of a small
world; the runs themselves are made here, by the commands that a user would type.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from llamafactory_hind.toyworld.build import build
from shared.board import (
    SECONDS,
    add_to,
    block,
    choose,
    choose_model,
    loaded,
    open_tab,
    running_board,
    running_browser,
    type_in,
    until,
)


ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "board_pictures"
DEMO = ROOT / "build" / "toyworld"
PICTURES = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1000
GRPO = ROOT / "yaml_configs" / "toyworld" / "grpo.yaml"


def prepare() -> None:
    """Lay out a folder to start the Board in: a world, a checkpoint, and two GRPO runs with other learning rates."""
    if not (HOME / "world").is_dir():
        HOME.mkdir(parents=True, exist_ok=True)
        if (DEMO / "base" / "model.safetensors").is_file():
            shutil.copytree(DEMO, HOME / "world", ignore=shutil.ignore_patterns("checkpoint-*"))
        else:
            build(HOME / "world", seed=0, size="small")
    for name, rate in (("grpo", "2.0e-4"), ("grpo_slow", "2.0e-5")):
        folder = f"saves/Custom/full/{name}"
        if not (HOME / folder / "all_results.json").is_file():
            train(folder, learning_rate=rate)


def model() -> str:
    """Return the checkpoint."""
    return "world/base" if (HOME / "world" / "base").is_dir() else "world/tiny"


def train(folder: str, **settings: str) -> None:
    """Run GRPO as a user would."""
    said = {
        "model_name_or_path": model(),
        "dataset_dir": "world",
        "media_dir": "world",
        "output_dir": folder,
        "max_steps": "30",
        "per_device_train_batch_size": "4",
        "logging_steps": "1",
        "eval_strategy": "'no'",
        "load_best_model_at_end": "false",
        "save_steps": "30",
        **settings,
    }
    words = [str(Path(sys.executable).with_name("llamafactory-cli")), "train", str(GRPO)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    argv = [*words, *(f"{key}={value}" for key, value in said.items())]
    subprocess.run(argv, cwd=HOME, env={**os.environ, "PATH": path}, check=True)


def picture(page: Any, name: str, *, whole: bool = False) -> None:
    """Write a picture: of what the window shows, or of the whole page."""
    page.screenshot(path=str(PICTURES / f"board_{name}.png"), full_page=whole)
    print(PICTURES / f"board_{name}.png")


def below_the_tabs(page: Any, *, to: str = "[role=tablist]") -> None:
    """Scroll so that the row of tabs, or another element, is at the upper edge, also of a page that is short."""
    page.evaluate(
        "to => { document.body.style.minHeight = '3000px'; document.querySelector(to).scrollIntoView(); }", to
    )
    page.wait_for_timeout(500)


def without_toasts(page: Any) -> None:
    """Close what the host announces; it would lie over the page."""
    for button in page.get_by_test_id("toast-close").all():
        button.click()
    until(lambda: not page.get_by_test_id("toast-body").count())


def train_tab(page: Any) -> None:
    """Show the fields of a stage, filled from a preset, one of them wrong."""
    choose_model(page, model())
    choose(page, "Stage", "GRPO")
    block(page, "Preset").wait_for()
    choose(page, "Preset", "toyworld/grpo.yaml")
    page.locator("#hind_status").get_by_text("is filled in").wait_for()
    type_in(page, "· num_generations", "1")
    page.get_by_role("button", name="Check").click()
    page.locator("#hind_status li").first.wait_for()
    without_toasts(page)
    tab = page.get_by_role("button", name="Method settings").locator("xpath=..")
    tab.screenshot(path=str(PICTURES / "board_train.png"))


def curves_tab(page: Any) -> None:
    """Show KEPO of the demo; without it, two runs of GRPO overlaid."""
    open_tab(page, "Curves")
    page.get_by_role("button", name="List the runs again").click()
    if (HOME / "world" / "kepo").is_dir():
        choose(page, "Run", "world/kepo")
    else:
        choose(page, "Run", "saves/Custom/full/grpo")
        choose(page, "Compare with", "saves/Custom/full/grpo_slow")
    until(lambda: page.locator("#hind_curves_page figure").count() > 4)
    below_the_tabs(page)
    picture(page, "curves")


def completions_tab(page: Any) -> None:
    """Show groups of the policy, those whose rewards differ most first: what a run learns from."""
    open_tab(page, "Completions")
    choose(page, "Run", "saves/Custom/full/grpo")
    page.locator("#hind_completions_status").get_by_text("groups").wait_for()
    choose(page, "Order", "spread of rewards")
    page.locator(".hc-card img").nth(1).wait_for()
    page.wait_for_timeout(1500)
    below_the_tabs(page, to="#hind_completions_view")
    picture(page, "completions")


def synth_tab(page: Any) -> None:
    """Show a dry run, then a job that has ended, then scores."""
    open_tab(page, "Synth & Score")
    block(page, "Pipeline").wait_for()
    add_to(page, "Datasets to read", "hindsight_answer_test")
    said = {"dataset_dir": "world", "template": "qwen2_vl", "model_name_or_path": model(), "output": "world/said.json"}
    for key, value in {**said, "max_samples": "64", "answer_max_new_tokens": "8"}.items():
        titled = page.get_by_text(f"· {key}", exact=False)
        type_in(page, f"· {key}" if titled.count() else key, value)
    page.get_by_label("use_cot").uncheck()
    page.get_by_role("button", name="Preview prompts").click()
    until(lambda: page.locator(".hind-trial").count() == 3)
    without_toasts(page)
    below_the_tabs(page)
    page.set_viewport_size({"width": WIDTH, "height": 2 * HEIGHT})
    picture(page, "synth")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def score_tab(page: Any) -> None:
    """Show the scores of answers: of the demo, else of a job that is started here."""
    open_tab(page, "Synth & Score")
    answers = "world/answers_kepo.json"
    if not (HOME / answers).is_file():
        answers = "world/said.json"
        page.get_by_role("button", name="Start synth").click()
        until(lambda: "finished" in page.locator("#hind_job_page").inner_text(), 300)
    page.get_by_role("button", name="Write rows: synth").click()
    page.get_by_role("button", name="Metrics over predictions: score").click()
    type_in(page, "· predictions", answers)
    add_to(page, "· metric", "vqa_accuracy")
    type_in(page, "· group_by", "relation")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator("#hind_job_result table").wait_for(timeout=300000)
    page.get_by_role("button", name="Metrics over predictions: score").click()
    page.wait_for_timeout(1000)
    without_toasts(page)
    below_the_tabs(page)
    picture(page, "score")


def main() -> None:
    """Make the runs that are missing, then the pictures."""
    prepare()
    for name in ("said.json", "said.journal.jsonl"):
        (HOME / "world" / name).unlink(missing_ok=True)
    info = HOME / "world" / "dataset_info.json"
    entries = json.loads(info.read_text())
    entries.pop("said", None)
    info.write_text(json.dumps(entries, indent=2))
    shutil.rmtree(HOME / "llamaboard_jobs", ignore_errors=True)
    with running_board(HOME) as address, running_browser() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(1000 * SECONDS)
        page.goto(address)
        loaded(page)
        for show in (train_tab, curves_tab, completions_tab, synth_tab, score_tab):
            show(page)


if __name__ == "__main__":
    main()
