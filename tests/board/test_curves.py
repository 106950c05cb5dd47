"""`board.curves`: logs read by offset, also while they grow, are cut or resumed; curves thinned, smoothed and drawn."""

import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llamafactory_hind.board.completions.places import ROOTS
from llamafactory_hind.board.curves.drawing import draw_panel, padded, ticks
from llamafactory_hind.board.curves.live import LiveCurves
from llamafactory_hind.board.curves.page import status_line
from llamafactory_hind.board.curves.panels import Panel, panels_of
from llamafactory_hind.board.curves.reading import RunLog, Series, read_clock
from llamafactory_hind.board.curves.runs import RunList, find_runs, roots_of
from llamafactory_hind.board.curves.shaping import along, smooth, thin_out
from llamafactory_hind.board.curves.small import is_ours, small_plot


SVG = "{http://www.w3.org/2000/svg}"


def line(step: int, **numbers: object) -> str:
    return json.dumps({"current_steps": step, "total_steps": 9, "elapsed_time": f"0:00:0{step}", **numbers}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path / "trainer_log.jsonl")


def values(log: RunLog, name: str) -> list[tuple[float, float]]:
    series = log.series[name]
    return list(zip(series.steps, series.values, strict=True))


def test_only_what_is_new_is_read(log: RunLog) -> None:
    """A line in two writes counts once it is whole; 0 is a number, NaN, texts and true are not; a late series begins late."""
    assert log.update() == 0
    log.path.write_text(line(1, loss=0.0, reward=1) + line(2, loss=float("nan"), note="x", flag=True))
    assert log.update() == 2
    assert values(log, "loss") == [(1, 0.0)]
    assert set(log.series) == {"loss", "reward"}
    assert log.total == 9
    with open(log.path, "a") as file:
        file.write(line(3, kl=0.5)[:20])
        file.flush()
        assert log.update() == 0
        file.write(line(3, kl=0.5)[20:])
    assert log.update() == 1
    assert log.update() == 0
    assert values(log, "kl") == [(3, 0.5)]
    assert list(log.seconds.values) == [1.0, 2.0, 3.0]


def test_a_resumed_run_takes_its_steps_again(log: RunLog) -> None:
    log.path.write_text("".join(line(step, loss=step) for step in (1, 2, 3)) + line(2, loss=20) + line(3, loss=30))
    log.update()
    assert values(log, "loss") == [(1, 1), (2, 20), (3, 30)]
    assert log.resumed == [2]


def test_a_file_that_was_replaced_or_removed_is_read_anew(log: RunLog) -> None:
    log.path.write_text(line(1, loss=1) + line(2, loss=2))
    log.update()
    log.path.write_text(line(1, loss=9))  # shorter
    log.update()
    assert values(log, "loss") == [(1, 9)]
    log.path.write_text(line(1, loss=7, kl=1) + line(2, loss=8))  # longer, and another
    log.update()
    assert values(log, "loss") == [(1, 7), (2, 8)]
    log.path.unlink()
    log.update()
    assert not log.series


def test_broken_lines_are_counted_and_lose_no_others(log: RunLog) -> None:
    log.path.write_bytes(
        line(1, loss=1).encode() + b'{"cur\n[1]\n\xff\xfe\n\n' + line(2, loss=2).encode() + b'{"loss": 3}\n'
    )
    log.update()
    assert values(log, "loss") == [(1, 1), (2, 2)]
    assert log.unreadable == 3


def test_clocks() -> None:
    assert read_clock("1:02:03") == 3723
    assert read_clock("2 days, 0:00:01") == 172801
    assert read_clock("soon") is read_clock(None) is read_clock("1:2") is None


def test_smoothing_by_hand() -> None:
    """w = 0.5 over 4, 2: first (0.5 * 4) / (1 - 0.5) = 4; then (0.5 * 2 + 0.5 * 2) / (1 - 0.25) = 8/3. A constant stays."""
    assert smooth([4.0, 2.0], 0.5) == pytest.approx([4.0, 8 / 3])
    assert smooth([3.0] * 5, 0.9) == pytest.approx([3.0] * 5)
    assert smooth([1.0, 5.0], 0.0) == [1.0, 5.0]
    with pytest.raises(ValueError, match="got 1"):
        smooth([1.0], 1)


def test_thinning_keeps_ends_and_peaks() -> None:
    points = [(float(i), 0.0) for i in range(10_000)]
    points[4321] = (4321.0, 5.0)
    points[77] = (77.0, -5.0)
    kept = thin_out(points, 800)
    assert len(kept) <= 800
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert {points[77], points[4321]} <= set(kept)
    assert kept == sorted(kept)
    assert thin_out(points[:5], 800) == points[:5]
    assert len(thin_out(points, 4)) == 4


def test_another_axis_leaves_out_what_it_does_not_know() -> None:
    assert along([1, 2], [5, 6], None) == [(1, 5), (2, 6)]
    assert along([1, 2], [5, 6], ([2, 3], [200, 300])) == [(200, 6)]


def test_panels_without_numbers_are_not_there_and_trouble_is_told(log: RunLog) -> None:
    log.path.write_text(line(1, **{"loss": 0, "zero_variance_share": 1.0, "own/color": 1, "loss/answer": 2}))
    log.update()
    panels = panels_of({"run": log})
    assert [(panel.title, panel.metrics) for panel in panels] == [
        ("loss", ("loss",)),
        ("losses", ("loss/answer",)),
        ("spread of rewards", ("zero_variance_share",)),
        ("own/color", ("own/color",)),
    ]
    assert "nothing is learnt" in panels[2].remarks[0]


def test_a_drawing_has_every_curve_and_no_markup_of_names(log: RunLog, tmp_path: Path) -> None:
    """Two runs, one of a single point, a loss of 0; names that look like markup stay text."""
    evil = '<script>alert("x")</script>'
    log.path.write_text("".join(line(step, **{"loss": 0, evil: step}) for step in (1, 2, 3)) + line(2, loss=1))
    log.update()
    other = RunLog(tmp_path / "other.jsonl")
    other.path.write_text(line(2, loss=5))
    other.update()
    drawn = draw_panel(Panel(evil, ("loss", evil)), {"a&b": log, "other": other}, smoothing=0.3)
    tree = ElementTree.fromstring(drawn)
    assert len(tree.findall(f"{SVG}polyline")) == 1
    assert len(tree.findall(f"{SVG}circle")) == 2  # the other metric has one point since the run was resumed
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {
        "svg",
        "title",
        "text",
        "line",
        "polyline",
        "circle",
    }
    texts = [element.text for element in tree.findall(f"{SVG}text")]
    assert f"a&b: {evil} 1" in texts
    assert "resumed at 2" in [element.text for element in tree.iter(f"{SVG}title")]
    places = [float(number) for number in re.findall(r"-?[\d.]+", tree.find(f"{SVG}polyline").get("points"))]
    assert all(0 <= place <= 520 for place in places)
    with pytest.raises(ValueError, match="axis"):
        draw_panel(Panel("loss", ("loss",)), {"a": log}, axis="weeks")
    assert "polyline" in draw_panel(Panel("loss", ("loss",)), {"a": log}, axis="seconds")


def test_ticks_are_round_and_ranges_never_empty() -> None:
    assert ticks(0, 10) == [0, 5, 10]
    assert ticks(0.9, 1.3) == pytest.approx([0.9, 1.0, 1.1, 1.2, 1.3])
    assert padded(0, 0, 0.05) == (-1.0, 1.0)
    assert padded(5, 5, 0.0) == (4.5, 5.5)
    assert padded(0, 10, 0.1) == (-1.0, 11.0)


def test_a_long_log_is_quick(log: RunLog) -> None:
    """Ten thousand lines of forty numbers: read once; a look at what is new and a drawing take under 0.2 s of the processor."""
    numbers = {f"metric_{i}": i / 7 for i in range(40)}
    log.path.write_text("".join(line(step, loss=step, **numbers) for step in range(10_000)))
    log.update()
    with open(log.path, "a") as file:
        file.write(line(10_000, loss=1, **numbers))
    start = time.process_time()
    assert log.update() == 1
    assert len(draw_panel(Panel("loss", ("loss",)), {"run": log}, smoothing=0.6)) < 20_000
    assert time.process_time() - start < 0.2


def run_of(folder: Path, *lines_of: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "trainer_log.jsonl").write_text("".join(lines_of))
    return folder / "trainer_log.jsonl"


def test_runs_are_names_under_the_roots(tmp_path: Path) -> None:
    """Two roots of one name, a checkpoint's own log, a link to a folder outside, a link of the file itself."""
    first, second, outside = tmp_path / "a" / "saves", tmp_path / "b" / "saves", tmp_path / "outside"
    one, two, secret = (
        run_of(folder, line(1, loss=1)) for folder in (first / "m" / "one", second / "two", outside / "x")
    )
    run_of(first / "m" / "one" / "checkpoint-5", line(1, loss=1))
    (first / "linked").symlink_to(outside)
    (first / "file").mkdir()
    (first / "file" / "trainer_log.jsonl").symlink_to(secret)
    (second / "m" / "one").mkdir(parents=True)
    other = second / "m" / "one" / "trainer_log.jsonl"
    other.write_text(line(1, loss=1))
    roots = roots_of({ROOTS: f"{first}:{second}"})
    assert find_runs(roots) == {"m/one": one, "two": two, "saves/m/one": other}
    names = ["m/one", "../outside/x", "/etc/passwd", "m/one/../../linked/x", str(secret)]
    runs = RunList(roots)
    assert runs.open(names) == {"m/one": one}
    one.unlink()
    one.symlink_to(secret)  # after the list was made
    assert runs.open(names) == {}
    assert roots_of({}) == [Path.cwd().resolve()]
    assert find_runs([tmp_path / "absent"]) == {}
    assert find_runs([second / "two"]) == {"two": two}


def test_what_is_shown_is_drawn_again_only_when_something_is_new(tmp_path: Path) -> None:
    path = run_of(tmp_path / "run", line(1, loss=0, zero_variance_share=1.0))
    live = LiveCurves([tmp_path])
    name = "run"
    assert live.runs.names() == [name]
    options = {"smoothing": 0.0, "axis": "step", "tables": True}
    drawn = live.draw([name, "../x"], **options)
    assert drawn is not None
    status, page, view = drawn
    assert "step 1 of 9" in status
    assert "nothing is learnt" in page
    assert ">1</button></th><td>0</td>" in page  # a loss of 0 is a number
    assert live.draw([name], **options, before=view) is None
    with open(path, "a") as file:
        file.write(line(9, loss=1, kl=0.5))
    again = live.draw([name], **options, before=view)
    assert again is not None
    assert "finished" in again[0]
    assert "KL and clipping" in again[1]
    assert "Choose a run" in live.draw([], **options)[1]
    assert "Nothing here yet" in LiveCurves([tmp_path / "absent"]).draw([], **options)[1]


def test_a_page_of_curves_has_no_markup_of_names(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    run_of(tmp_path / evil, line(1, **{evil: 1, "zero_variance_share": 1.0}))
    live = LiveCurves([tmp_path])
    status, page, _ = live.draw([evil], smoothing=0.0, axis="step", tables=True)
    assert "<img" not in status + page
    assert "&lt;img" in status
    assert "&lt;img" in page


def test_metrics_of_all_stages_have_a_panel() -> None:
    """The first pattern that fits takes a metric: pair rewards of kepo are not rewards one by one."""
    log = RunLog(Path("none"))
    names = [
        "rewards/chosen",
        "rewards/accuracy",
        "mse/qa",
        "eval_auroc",
        "loss/itc",
        "source/policy/reward",
        "hints/written",
    ]
    for name in [*names, "hints/triggered"]:
        log.series[name] = Series()
        log.series[name].add(1, 0.0 if name == "hints/written" else 1.0)
    found = {panel.title: panel for panel in panels_of({"r": log})}
    assert found["pair rewards"].metrics == ("rewards/chosen",)
    assert found["rewards one by one"].metrics == ("rewards/accuracy",)
    assert found["error of the scores"].metrics == ("mse/qa",)
    assert found["losses"].metrics == ("loss/itc",)
    assert found["rewards by source"].metrics == ("source/policy/reward",)
    assert "none is accepted" in found["hints"].remarks[0]


def test_the_small_plot_draws_a_loss_of_0() -> None:
    entries = [{"current_steps": step, "loss": 0, "reward": step / 4} for step in (1, 2, 3)]
    assert is_ours(entries)
    assert is_ours([{"current_steps": 1, "loss": 0}])
    assert not is_ours([{"current_steps": 1, "loss": 0.5}, {"current_steps": 2, "eval_loss": 1}])
    figure = small_plot(entries)
    reward, loss = figure.axes
    assert list(reward.lines[0].get_ydata()) == [0.25, 0.5, 0.75]
    assert list(loss.lines[0].get_ydata()) == [0, 0, 0]
    assert small_plot([]).axes == []


def test_the_pace_of_a_run(log: RunLog) -> None:
    log.path.write_text(line(1, loss=1) + line(2, loss=1) + line(5, loss=1))
    log.update()
    assert log.seconds_a_step() == 1.0
    assert "step 5 of 9; 1 s a step" in status_line({"r": log}, now=log.changed)
    assert "no line for some time" in status_line({"r": log}, now=log.changed + 1000)
