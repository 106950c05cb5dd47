"""Reports: the file has all, the table shows all but the provenance."""

import json
from pathlib import Path

import pytest

from llamafactory_hind.pipelines.runner.arguments import SynthArguments
from llamafactory_hind.pipelines.runner.reports import report


def test_a_report_is_written_whole_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = SynthArguments(pipeline="hints", output=str(tmp_path / "out.json"))
    content = {
        "rows": 12,
        "kept_at_first_attempt": 7,
        "mean_reward": {"org/model [bold]:smile:": 2 / 3},
        "dropped": {"no hint found": 3, "名字": 1},
        "selected": {},
        "provenance": {"model": "hidden"},
    }
    report(arguments, content)
    assert json.loads((tmp_path / "out.report.json").read_text(encoding="utf-8")) == content
    shown = capsys.readouterr().out
    lines = [" ".join(line.strip("│ \n").split()) for line in shown.splitlines()]
    for line in (
        "rows │ 12",
        "kept at first attempt │ 7",
        "mean reward",
        "org/model [bold]:smile: │ 0.6667",
        "no hint found │ 3",
        "名字 │ 1",
        "selected │ none",
    ):
        assert line in lines, shown
    assert "pipeline: hints" in shown
    assert "hidden" not in shown


def test_another_ending(tmp_path: Path) -> None:
    report(SynthArguments(output=str(tmp_path / "pairs.jsonl")), {"rows": 0}, ending=".quadrants.json")
    assert json.loads((tmp_path / "pairs.quadrants.json").read_text()) == {"rows": 0}
