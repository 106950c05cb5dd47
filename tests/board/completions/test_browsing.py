"""Index, filters, sorts, search, history, comparison and pages over runs on disk."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llamafactory_hind.board.completions.index import Index
from llamafactory_hind.board.completions.page import NO_MATCH, NOTHING, WRITES_NONE, Browser, View
from llamafactory_hind.board.completions.query import ORDERS, Query, cards, matching
from llamafactory_hind.storage.completion_files import join_steps
from shared.completion_runs import describe, entry, gated_run, large_run, write_step


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    gated_run(root / "gated", root / "media")
    return root


def index_of(run: Path) -> Index:
    index = Index(run / "completions")
    while not index.complete:
        index.update()
    return index


def look(browser: Browser, view: View) -> Any:
    while (found := browser.look(view)).busy:
        pass
    return found


def picked(run: Path, **query: Any) -> list[tuple[Any, ...]]:
    """(step, group, sample, kept) of what a query picks, in its order."""
    rows = index_of(run).rows
    table = rows.table.take(pa.array(matching(rows, Query(**query))))
    return list(zip(*(table[name].to_pylist() for name in ("step", "group", "sample", "kept")), strict=True))


def test_newest_first_and_learnt_from_first(world: Path) -> None:
    found = picked(world / "gated", split="train")
    assert len(found) == 3 * 2 * 5
    assert found[:5] == [(3, 0, 0, True), (3, 0, 1, True), (3, 0, 2, True), (3, 0, 3, True), (3, 0, 0, False)]
    assert found[-1] == (1, 1, 0, False)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 31),
        ({"split": "eval"}, 1),
        ({"step": 2}, 10),
        ({"source": "hinted"}, 6),
        ({"show": "kept", "split": "train"}, 24),
        ({"show": "passed over", "split": "train"}, 6),
        ({"gate": "open"}, 9),
        ({"gate": "closed"}, 9),
        ({"hint": "with a hint"}, 6),
        ({"hint": "without"}, 25),
        ({"hint": "hints were tried"}, 15),
        ({"finish": "length"}, 6),
        ({"lowest": 1.0}, 9),
        ({"highest": 0.5}, 16),
        ({"lowest": -1e9}, 25),  # six have no reward: they are in no range
        ({"reward": "accuracy", "lowest": 1.0, "step": 3}, 5),
        ({"row": "row-1"}, 15),
        ({"row": "row-1", "source": "hinted", "step": 3}, 1),
        ({"source": "nobody"}, 0),
        ({"reward": "unknown", "lowest": 0.0}, 0),
    ],
)
def test_filters(world: Path, query: dict[str, Any], count: int) -> None:
    assert len(picked(world / "gated", **query)) == count


def test_every_order_has_the_same_completions_and_puts_missing_numbers_last(world: Path) -> None:
    rows = index_of(world / "gated").rows
    for order in ORDERS:
        found = matching(rows, Query(order=order))
        assert sorted(found) == list(range(len(rows)))
    rewards = rows.numbers("reward")
    for order, sign in (("reward: highest", -1), ("reward: lowest", 1)):
        values = rewards[matching(rows, Query(order=order))]
        there = values[~np.isnan(values)]
        assert list(there) == sorted(there, key=lambda value: sign * value)
        assert np.isnan(values[len(there) :]).all()
    assert rows.numbers("step")[matching(rows, Query(order="oldest"))[0]] == 1
    spread = matching(rows, Query(order="spread of rewards", split="train"))
    assert len(cards(rows, spread)) == 6


def test_a_row_twice_in_a_step_is_two_groups(tmp_path: Path) -> None:
    entries = [entry(1, group, sample, row_id="same") for group in range(2) for sample in range(2)]
    write_step(tmp_path, 1, entries)
    rows = index_of(tmp_path).rows
    assert len(cards(rows, matching(rows, Query()))) == 2


def test_two_processes_have_groups_of_their_own(tmp_path: Path) -> None:
    for process in range(2):
        write_step(tmp_path, 1, [entry(1, 0, 0, process=process)], process)
    rows = index_of(tmp_path).rows
    assert len(cards(rows, matching(rows, Query()))) == 2


def test_a_run_of_an_earlier_version_opens(tmp_path: Path) -> None:
    """Without group, process, split, boxes, hints and `_run.json`; a column without any value has no type."""
    old = ("step", "epoch", "row_id", "prompt", "media", "columns", "sample", "source", "kept", "completion")
    old += ("tokens", "finish_reason", "reward", "reward/accuracy", "advantage", "extra")
    entries = [
        {name: value for name, value in entry(1, group, sample).items() if name in old}
        for group in range(2)
        for sample in range(2)
    ]
    (tmp_path / "run" / "completions").mkdir(parents=True)
    table = pa.Table.from_pylist([{**one, "reward/accuracy": None} for one in entries])
    pq.write_table(table, tmp_path / "run" / "completions" / "00000001-00003.parquet")
    found = look(Browser([tmp_path]), View())
    assert found.status.startswith("4 of 4 completions in 2 groups.")
    assert "does not say where its media are" in found.status
    assert "question 1" in found.html


def test_steps_written_again_replace_what_was_shown(tmp_path: Path) -> None:
    """A joined file says what step 2 was; a resumed run writes it anew, and then joins it."""
    browser, run = Browser([tmp_path]), tmp_path / "run"
    for step in (1, 2):
        write_step(run, step, [entry(step, 0, 0, completion="old")])
    join_steps(run / "completions", 2)
    assert look(browser, View()).html.count(">old<") == 2
    write_step(run, 2, [entry(2, 0, 0, completion="new")])
    for _ in range(2):
        found = look(browser, View())
        assert (found.html.count(">old<"), found.html.count(">new<")) == (1, 1)
        join_steps(run / "completions", 2)


def test_half_written_and_broken_files_are_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_step(run, 1, [entry(1, 0, 0)])
    (run / "completions" / ".00000002-00000.7.writing.parquet").write_bytes(b"PAR1")
    (run / "completions" / "00000003-00000.parquet").write_bytes(b"PAR1 and nothing more")
    browser = Browser([tmp_path])
    found = look(browser, View())
    assert found.status.startswith("1 of 1 completions")
    assert "Left out: 00000003-00000.parquet" in found.status
    assert "writing" not in found.status
    write_step(run, 3, [entry(3, 0, 0)])
    assert look(browser, View()).status.startswith("2 of 2 completions")


def test_text_is_a_literal_whatever_its_case(tmp_path: Path) -> None:
    run = tmp_path / "run"
    texts = ["A.B", "axb", "50% (of) [it]", "ÄPFEL", "back\\slash"]
    write_step(run, 1, [entry(1, 0, sample, completion=text) for sample, text in enumerate(texts)])
    browser = Browser([tmp_path])
    for text, count in {"a.b": 1, "% (of) [": 1, "äpfel": 1, ".*": 0, "\\s": 1, "question": 5, "row-0": 5}.items():
        assert look(browser, View(view="list", query=Query(text=text))).status.startswith(f"{count} of 5"), text


def test_the_first_page_comes_before_all_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all a look reads one file, the newest; filters work on what is read, and the line says so."""
    run = tmp_path / "run"
    for step in range(1, 31):
        write_step(run, step, [entry(step, 0, 0)])
    browser = Browser([tmp_path])
    opened = browser.open(browser.roots.get("run"))
    advance = opened.advance
    monkeypatch.setattr(opened, "advance", lambda query: advance(query, 0.0))
    first = browser.look(View())
    assert first.busy
    assert first.status.startswith("1 of 1 completions")
    assert "Reading 1 of 30 files, newest first." in first.status
    assert "step 30 group 0" in first.html
    assert len([None for _ in range(29) if browser.look(View()).busy]) == 28
    searched = View(query=Query(text="step 3 "))
    looks = [browser.look(searched) for _ in range(31)]
    assert "Looked through 1 of 30 files for the text." in looks[0].status
    assert not looks[-1].busy
    assert looks[-1].status.startswith("1 of 30")
    other = View(query=Query(text="group"))
    assert browser.look(other).busy
    browser.stop_search(other)
    stopped = browser.look(other)
    assert not stopped.busy
    assert "The search was stopped." in stopped.status


def test_pages_cover_everything_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in range(1, 12):
        write_step(run, step, [entry(step, group, 0) for group in range(3)])
    browser = Browser([tmp_path])
    first = look(browser, View())
    assert (first.pages, first.page) == (math.ceil(33 / 8), 1)
    html = "".join(look(browser, View(page=page)).html for page in range(1, first.pages + 1))
    for step in range(1, 12):
        for group in range(3):
            assert html.count(f">step {step} group {group} sample 0<") == 1
    assert look(browser, View(page=99)).page == first.pages
    assert look(browser, View(page=-1)).page == 1


def test_a_group_is_shown_whole_where_one_of_it_is_picked(world: Path) -> None:
    found = look(Browser([world]), View(query=Query(step=3, row="row-1", source="hinted")))
    assert found.status.startswith("1 of 31 completions in 1 groups.")
    assert found.html.count("<tr") == 1 + 5
    assert found.html.count("hc-hit") == 1 + found.html.count(".hc-hit")


def test_missing_numbers_are_dashes(world: Path) -> None:
    found = look(Browser([world]), View(query=Query(step=3, row="row-1", split="train")))
    hinted = found.html[found.html.index("step 3 group 1 sample 3") :]
    hinted = hinted[: hinted.index("</tr>")]
    assert hinted.count(">–<") == 3  # the reward, its part, the gate
    assert ">0<" not in hinted


def test_what_became_of_hints_is_shown(world: Path) -> None:
    html = look(Browser([world]), View(query=Query(step=3, row="row-0", split="train"))).html
    for text in ("hints that were tried (2)", "failed: no answer", "rejected: leak", "look left", "look right"):
        assert text in html


def test_the_history_of_a_row(world: Path) -> None:
    found = look(Browser([world]), View(view="history", query=Query(row="row-0")))
    assert found.status.startswith("Row row-0: 4 groups")
    assert found.html.count("<article") == 4
    assert "<polyline" in found.html
    assert NO_MATCH in look(Browser([world]), View(view="history", query=Query(row="nobody"))).html


def test_prompts_by_the_variance_of_their_rewards(tmp_path: Path) -> None:
    """Rewards 1 and 0 have a deviation of 0.5, 1 and 0.5 one of 0.25; one reward alone has 0, none a dash."""
    rewards = {"even": [1.0, 1.0], "some": [1.0, 0.5], "most": [1.0, 0.0], "none": [None, None]}
    entries = [
        entry(1, group, sample, row_id=row, reward=value)
        for group, (row, values) in enumerate(rewards.items())
        for sample, value in enumerate(values)
    ]
    write_step(tmp_path / "run", 1, entries)
    html = look(Browser([tmp_path]), View(view="prompts")).html
    places = [html.index(f">{row}<") for row in ("most", "some", "even", "none")]
    assert places == sorted(places)
    assert html.index(">0.5<") < html.index(">0.25<") < html.index(">0<") < html.rindex(">–<")


def test_two_runs_on_the_same_rows(tmp_path: Path) -> None:
    for run, values in {"a": {"x": 0.0, "y": 1.0, "only-a": 1.0}, "b": {"x": 1.0, "y": 0.75}}.items():
        entries = [entry(2, group, 0, row_id=row, reward=value) for group, (row, value) in enumerate(values.items())]
        write_step(tmp_path / run, 2, entries)
    browser = Browser([tmp_path])
    found = look(browser, View(run="a", other="b", view="compare"))
    assert found.status.startswith("2 rows are in both runs")
    assert found.html.index(">x<") < found.html.index(">+1<") < found.html.index(">y<") < found.html.index(">-0.25<")
    both = look(browser, View(run="a", other="b", view="compare", query=Query(row="x")))
    assert both.html.count("<article") == 2
    assert "at step 2 of both" in both.status
    assert "Choose a second run" in look(browser, View(run="a", view="compare")).html


def test_states_without_completions(tmp_path: Path) -> None:
    assert NOTHING.partition("{")[0] in look(Browser([tmp_path]), View()).html
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "trainer_log.jsonl").write_text("{}\n")
    assert WRITES_NONE in look(Browser([tmp_path]), View()).html


@pytest.mark.parametrize("name", ["../secret", "/etc", "gone", "run/../../secret", ""])
def test_a_run_is_a_name_of_the_list(tmp_path: Path, name: str) -> None:
    write_step(tmp_path / "secret", 1, [entry(1, 0, 0, completion="SECRET")])
    write_step(tmp_path / "root" / "run", 1, [entry(1, 0, 0)])
    html = look(Browser([tmp_path / "root"]), View(run=name)).html
    assert "SECRET" not in html
    assert ("not in the list" in html) == bool(name)


@pytest.mark.parametrize("linked", ["run", "run/completions"])
def test_a_link_that_leads_out_is_not_followed(tmp_path: Path, linked: str) -> None:
    write_step(tmp_path / "secret", 1, [entry(1, 0, 0, completion="SECRET")])
    root = tmp_path / "root"
    (root / linked).parent.mkdir(parents=True)
    target = tmp_path / "secret" / "completions" if linked.endswith("completions") else tmp_path / "secret"
    (root / linked).symlink_to(target)
    browser = Browser([root])
    assert "SECRET" not in look(browser, View(run="run")).html
    assert browser.names() == []


def test_a_run_that_becomes_a_link_is_refused(tmp_path: Path) -> None:
    write_step(tmp_path / "secret", 1, [entry(1, 0, 0, completion="SECRET")])
    root = tmp_path / "root"
    write_step(root / "run", 1, [entry(1, 0, 0)])
    browser = Browser([root])
    assert browser.names() == ["run"]
    (root / "run").rename(root / "moved")
    (root / "run").symlink_to(tmp_path / "secret")
    assert "not in the list" in look(browser, View(run="run")).html


def test_a_hundred_thousand_completions(tmp_path: Path) -> None:
    """The counts of the limits; how quick it is, `benchmarks/browse.py` measures. Most steps are joined, as a run leaves them."""
    total = large_run(tmp_path / "run", steps=157, a_step=640, joined=150, words=4)
    assert total == 100_480
    browser = Browser([tmp_path])
    found = look(browser, View())
    assert found.status.startswith("100,480 of 100,480 completions in 12,560 groups. Page 1 of 1570.")
    assert found.html.count("<article") == 8
    rows = browser.open(browser.roots.get("run")).index.rows
    expected = sum(source == "hinted" for source in rows.table["source"].to_pylist())
    assert look(browser, View(query=Query(source="hinted"))).status.startswith(f"{expected:,} of 100,480")
    assert look(browser, View(page=1570)).html.count("<article") == 8
    assert look(browser, View(query=Query(text="#77"))).status.startswith("640 of 100,480")
    lowest = look(browser, View(view="list", query=Query(order="reward: lowest")))
    assert lowest.pages == math.ceil(100_480 / 25)
    assert rows.table.nbytes < 40 * 2**20


def test_a_moved_run_is_shown_with_another_media_folder(tmp_path: Path, world: Path) -> None:
    run = tmp_path / "moved"
    gated_run(run, tmp_path / "gone")
    describe(run, Path(os.sep) / "nowhere")
    assert "missing" in look(Browser([run]), View()).html
    assert "data:image/jpeg" in look(Browser([run], media_dir=world / "media"), View()).html
