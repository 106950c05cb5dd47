"""`board.curves`: logs read by offset, also while they grow, are cut or resumed; curves thinned, smoothed and drawn."""

import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llamafactory_hind.board.curves.drawing import draw_panel, padded, ticks
from llamafactory_hind.board.curves.panels import Panel, panels_of
from llamafactory_hind.board.curves.reading import RunLog, read_clock
from llamafactory_hind.board.curves.shaping import along, smooth, thin_out


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
