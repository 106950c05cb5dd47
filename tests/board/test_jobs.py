"""Jobs: real processes that outlive who started them, found again by their folders, stopped with SIGTERM."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from llamafactory_hind.board.jobs import store
from llamafactory_hind.board.jobs.state import JobState, Progress, is_alive, last_bar, read_state, shown_log
from llamafactory_hind.board.jobs.store import Jobs, titles
from llamafactory_hind.board.synth.job_page import job_page


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Jobs whose command is a Python file that gets the words of `llamafactory-cli`: `python file COMMAND settings.yaml`."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\nprint('started', flush=True)\ntime.sleep(600 if 'slow' in sys.argv else 0)\n"
    )
    script = tmp_path / "cli"
    script.write_text(f"#!{sys.executable}\n{program.read_text()}sys.exit(3 if 'bad' in sys.argv else 0)\n")
    script.chmod(0o755)
    monkeypatch.setattr(store, "cli", lambda: str(script))
    return Jobs(tmp_path / "jobs")


def wait_for(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.05)


def state(jobs: Jobs, name: str) -> JobState:
    found = jobs.state(name)
    assert found is not None
    return found


def test_a_job_ends_and_says_how(jobs: Jobs) -> None:
    good = jobs.start("synth", {"output": "a.json"}, title="synth hindsight", by="abc")
    bad = jobs.start("bad", {}, title="score", by="")
    wait_for(lambda: {state(jobs, name).phase for name in (good, bad)} == {"finished", "failed"})
    assert state(jobs, bad).code == 3
    assert state(jobs, good).log == "started"
    assert state(jobs, good).settings == {"output": "a.json"}
    assert jobs.names()[0] >= jobs.names()[1]
    assert any("synth hindsight · finished" in title for title, _ in titles(jobs, jobs.names()))


def test_a_job_outlives_who_started_it_and_is_stopped_from_elsewhere(jobs: Jobs) -> None:
    """Another `Jobs` of the same folder, as after the Board was started again."""
    name = jobs.start("slow", {}, title="synth slow", by="")
    again = Jobs(jobs.root)
    wait_for(lambda: state(again, name).log == "started")
    assert state(again, name).phase == "running"
    keeper = json.loads((jobs.root / name / "keeper.json").read_text())["pid"]
    assert os.getsid(keeper) == keeper  # a session of its own: what is sent to the Board's does not reach it
    (child,) = psutil.Process(keeper).children()
    assert again.stop(name)
    wait_for(lambda: state(jobs, name).phase == "stopped")
    assert not child.is_running()
    assert not again.stop(name)


def test_a_job_whose_keeper_was_killed_is_lost(jobs: Jobs) -> None:
    name = jobs.start("slow", {}, title="synth slow", by="")
    wait_for(lambda: state(jobs, name).log == "started")
    keeper = psutil.Process(json.loads((jobs.root / name / "keeper.json").read_text())["pid"])
    (child,) = keeper.children()
    keeper.kill()
    child.kill()
    wait_for(lambda: state(jobs, name).phase == "lost")


@pytest.mark.parametrize("name", ["../outside", "/etc", "", ".", "absent", None])
def test_only_names_of_the_list_are_jobs(jobs: Jobs, name: str | None) -> None:
    outside = jobs.root.parent / "outside"
    outside.mkdir(parents=True)
    jobs.root.mkdir()
    (outside / "job.json").write_text("{}")
    (jobs.root / "link").symlink_to(outside)
    assert jobs.names() == []
    assert jobs.state(name) is None
    assert jobs.state("link") is None
    assert not jobs.stop(name)


def test_a_number_of_a_process_that_was_given_again_is_not_the_job() -> None:
    own = psutil.Process()
    assert is_alive({"pid": own.pid, "created": own.create_time()})
    assert not is_alive({"pid": own.pid, "created": own.create_time() - 5})
    ended = subprocess.Popen([sys.executable, "-c", ""])
    created = psutil.Process(ended.pid).create_time()
    ended.wait()
    assert not is_alive({"pid": ended.pid, "created": created})
    assert not is_alive({})


def test_a_log_is_shown_as_a_terminal_would() -> None:
    text = "a\nhindsight:  10%|█ | 1/10 [00:01<00:09]\rhindsight:  20%|██ | 2/10 [00:02<00:08, 1.0row/s, cost=0.02]\nend\n"
    assert shown_log(text).splitlines()[1].startswith("hindsight:  20%")
    assert last_bar(text) == Progress("hindsight", 2, 10, "00:02<00:08, 1.0row/s, cost=0.02")
    assert last_bar("no bar 1/2 [x]") is None


def test_a_page_of_a_job_has_no_markup_of_others(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    (tmp_path / "job.json").write_text(json.dumps({"title": evil, "by": evil, "settings": {"output": "x.json"}}))
    (tmp_path / "ended.json").write_text(json.dumps({"code": 1, "stopped": False}))
    (tmp_path / "log.txt").write_text(f"{evil}: 10%|x| 1/2 [{evil}\nValueError: {evil}\n")
    page = job_page(read_state(tmp_path))
    assert "<img" not in page
    assert page.index("ValueError") < page.index('class="hind-log"')
    assert "No job yet" in job_page(None)
