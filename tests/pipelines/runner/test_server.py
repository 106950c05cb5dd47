"""`engine: openai` against a real HTTP server: nothing lost, nothing twice, nothing paid again, whatever happens to the run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llamafactory_hind.pipelines.runner.command import build_arguments, read_settings
from llamafactory_hind.pipelines.runner.rows import Row
from llamafactory_hind.pipelines.runner.run import run_pipeline, run_synth
from shared.openai_server import Behaviour, OpenAIServer
from shared.synth import knowledge_words, read_lines, text_rows, words, write_dataset


ROOT = Path(__file__).resolve().parents[3]
COMMAND = "import sys; from llamafactory_hind.pipelines.runner.run import run_synth; run_synth(sys.argv[1:])"


def start(argv: list[str], **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *argv],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def wait_until(condition: Any, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def settle(server: OpenAIServer) -> None:
    """Wait until nothing of a killed client is under way; what it sent last may still lie in a socket."""
    before, since = server.stats(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.02)
        if (now := server.stats()) != before:
            before, since = now, time.monotonic()


def test_rows_keep_their_order_and_calls_their_bound(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Rows answer after 0 to 60 ms, so that later ones overtake earlier ones."""
    write_dataset(tmp_path, text_rows(60))
    with OpenAIServer(Behaviour(latency=0.01)) as server:
        run_synth(words(tmp_path, server.url, concurrency=7, price_in=2.0, price_out=10.0))
        stats = server.stats()
    rows = read_lines(tmp_path / "out" / "o.jsonl")
    assert [row["id"] for row in rows] == [f"r{row}" for row in range(60)]
    assert len({row["prediction"] for row in rows}) == 60
    assert stats["calls"] == 60
    assert stats["most_at_once"] == 7, "as many as allowed, and no more"
    said = capsys.readouterr()
    assert "registered as `o`" in said.out
    assert "60 rows in" in said.out
    assert "cost" in said.out
    assert "0 retries" in said.out
    assert json.loads((tmp_path / "dataset_info.json").read_text())["o"]["file_name"] == "out/o.jsonl"
    assert rows[0]["provenance"]["engine"] == "openai"
    assert rows[0]["provenance"]["source_id"] == "r0"


def test_a_second_start_calls_nothing_and_a_changed_one_only_what_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_dataset(tmp_path, text_rows(20))
    with OpenAIServer() as server:
        run_synth(words(tmp_path, server.url))
        before = (tmp_path / "out" / "o.jsonl").read_bytes()
        run_synth(words(tmp_path, server.url, concurrency=3, max_retries=1))
        assert server.calls == 20, "how calls are made is no part of what they give"
        assert (tmp_path / "out" / "o.jsonl").read_bytes() == before
        write_dataset(tmp_path, [*text_rows(20), {"id": "new", "question": "New?", "answer": "yes"}])
        run_synth(words(tmp_path, server.url))
        assert server.calls == 21
        run_synth(words(tmp_path, server.url, model="other"))
        assert server.calls == 42
        run_synth(words(tmp_path, server.url))
        assert server.calls == 42, "the first model's results are still there"
        run_synth(words(tmp_path, server.url, extra_body="{top_x: 1}"))
        assert server.calls == 63
        assert server.bodies[-1]["top_x"] == 1
    capsys.readouterr()


def test_faults_cost_calls_but_no_row(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(150))
    kinds = ("error", "busy", "cut", "empty", "schema", "reset", "hang")
    with OpenAIServer(Behaviour(faults=0.2, kinds=kinds, seed=1)) as server:
        run_synth(words(tmp_path, server.url, request_timeout=2.0))
        assert set(server.faults) == set(kinds), "or the test tries too little"
        assert server.stats()["successes"] == 150
    assert [row["id"] for row in read_lines(tmp_path / "out" / "o.jsonl")] == [f"r{row}" for row in range(150)]
    assert not (tmp_path / "out" / "o.failures.jsonl").exists()


def refuse(ids: set[str]) -> Any:
    """Return a script that answers 400 to the questions of some rows."""

    def script(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], str] | None:
        asked = json.dumps(body["messages"])
        wrong = any(f"How much is {name[1:]} +" in asked for name in ids)
        return (403, {}, '{"error": {"message": "content filter, code 17"}}') if wrong else None

    return script


def test_a_row_that_fails_costs_only_itself_and_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_dataset(tmp_path, [*text_rows(30), {"id": "bad"}])
    with OpenAIServer(Behaviour(script=refuse({"r3", "r11"}))) as server:
        run_synth(words(tmp_path, server.url))
        failures = read_lines(tmp_path / "out" / "o.failures.jsonl")
        assert [failure["id"] for failure in failures] == ["bad", "r3", "r11"]
        assert "403: content filter, code 17" in failures[1]["reason"]
        assert failures[1]["number"] == 4
        assert failures[1]["fields"]["question"] == "How much is 3 + 3?"
        assert len(read_lines(tmp_path / "out" / "o.jsonl")) == 28
        server.behaviour.script = None
        calls = server.calls
        run_synth(words(tmp_path, server.url))
        assert server.calls == calls + 2
    assert [failure["id"] for failure in read_lines(tmp_path / "out" / "o.failures.jsonl")] == ["bad"]
    assert [row["id"] for row in read_lines(tmp_path / "out" / "o.jsonl")] == [f"r{row}" for row in range(30)]
    capsys.readouterr()


def test_too_many_failures_stop_the_run_and_keep_what_is_finished(tmp_path: Path) -> None:
    """With a rate of 0.5, rows 0 to 39 good and all others bad: the run ends long before row 1,000."""
    write_dataset(tmp_path, text_rows(1000))
    with OpenAIServer(Behaviour(script=refuse({f"r{row}" for row in range(40, 1000)}))) as server:
        with pytest.raises(SystemExit) as error:
            run_synth(words(tmp_path, server.url, concurrency=4))
        said = str(error.value)
        assert error.value.code not in (0, None)
        assert 80 <= server.calls <= 100
        assert "`max_failure_rate` is 0.5" in said
        assert "content filter, code 17" in said
        assert "start the same command again" in said
        assert not (tmp_path / "out" / "o.jsonl").exists()
        failures = read_lines(tmp_path / "out" / "o.failures.jsonl")
        assert len(failures) >= 40
        server.behaviour.script = None
        calls = server.calls
        run_synth(words(tmp_path, server.url, concurrency=4))
        assert server.calls - calls == 1000 - 40
    assert len(read_lines(tmp_path / "out" / "o.jsonl")) == 1000


def test_a_rate_of_one_never_stops_and_nothing_written_is_an_error(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(30))
    with OpenAIServer(Behaviour(script=refuse({f"r{row}" for row in range(30)}))) as server:
        with pytest.raises(SystemExit, match=r"every row failed[\s\S]*30 x CallFailed: the server answered 403"):
            run_synth(words(tmp_path, server.url, max_failure_rate=1))
        assert server.calls == 30


def test_failures_are_on_the_disk_as_they_happen(tmp_path: Path) -> None:
    """The other rows never answer; the run is killed."""
    write_dataset(tmp_path, text_rows(12))
    kinds: dict[str, Any] = {"kinds": ("hang",), "faults": 1.0}
    with OpenAIServer(Behaviour(script=refuse({"r2", "r5"}), **kinds)) as server:
        process = start(words(tmp_path, server.url))
        file = tmp_path / "out" / "o.failures.jsonl"
        try:
            wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") == 2)
        finally:
            process.kill()
            process.communicate()
        assert {failure["id"] for failure in read_lines(file)} == {"r2", "r5"}


@pytest.mark.slow
def test_killed_anywhere_between_calls_of_a_row_it_pays_none_again(tmp_path: Path) -> None:
    """Rows of seven calls in four steps; killed ten times in one run. What the record holds at a kill is never asked again."""
    write_dataset(tmp_path, text_rows(24))
    with OpenAIServer(Behaviour(latency=0.01)) as server:
        run_synth(knowledge_words(tmp_path, server.url, output=tmp_path / "whole" / "o.jsonl"))
        need = server.calls
        argv = knowledge_words(tmp_path, server.url, concurrency=4)
        calls = tmp_path / "out" / "o.calls.jsonl"
        answered, unrecorded, kills = server.stats()["successes"], 0, 0
        for recorded in (1, 7, 13, 20, 28, 40, 52, 64, 80, 95):
            process = start(argv)
            wait_until(lambda least=recorded: calls.exists() and calls.read_bytes().count(b"\n") >= least)
            kills += process.poll() is None
            process.kill()
            process.communicate()
            settle(server)
            unrecorded = server.stats()["successes"] - answered - calls.read_bytes().count(b"\n")
            assert 0 <= unrecorded <= 8 * 5 * kills, "at most one step (5 calls) of each row in work, at each kill"
            with open(calls, "ab") as file:  # what a kill in the middle of a write leaves
                file.write(b'{"key": "abc", "res')
        assert kills == 10
        run_synth(argv)
        assert server.stats()["successes"] - answered == need + unrecorded
    for name in ("o.jsonl", "o.samples.jsonl", "o.quadrants.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    keys = [line["key"] for line in read_lines(calls)]
    assert len(set(keys)) == len(keys) == need
    keys = [line["key"] for line in read_lines(tmp_path / "out" / "o.journal.jsonl")]
    assert len(set(keys)) == len(keys) == 24


def test_one_choice_at_a_time_is_recorded_one_by_one(tmp_path: Path) -> None:
    """A server that ignores `n`: the journal of rows is lost, the calls are not paid again."""
    write_dataset(tmp_path, text_rows(6))
    with OpenAIServer(Behaviour(most_choices=1)) as server:
        argv = knowledge_words(tmp_path, server.url, concurrency=2)
        run_synth(argv)
        calls, before = server.calls, (tmp_path / "out" / "o.samples.jsonl").read_bytes()
        (tmp_path / "out" / "o.journal.jsonl").unlink()
        run_synth(argv)
        assert server.calls == calls
        assert (tmp_path / "out" / "o.samples.jsonl").read_bytes() == before


def test_a_failed_call_of_a_row_loses_none_of_its_others(tmp_path: Path) -> None:
    """The answer to one of a row's facts is refused; on the next start that call alone is made."""
    write_dataset(tmp_path, text_rows(1))
    seen: list[Any] = []

    def script(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], str] | None:
        if "Knowledge:" in json.dumps(body["messages"]):
            seen.append(body)
            if len(seen) == 2:
                return 403, {}, "no"
        return None

    with OpenAIServer(Behaviour(script=script)) as server:
        with pytest.raises(SystemExit, match="every row failed"):
            run_synth(knowledge_words(tmp_path, server.url, concurrency=1))
        done = server.calls
        run_synth(knowledge_words(tmp_path, server.url, concurrency=1))
        assert server.calls == done + 1
    assert len(read_lines(tmp_path / "out" / "o.samples.jsonl")) == 1


def test_ctrl_c_ends_cleanly_and_says_what_is_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(400))
    with OpenAIServer(Behaviour(latency=0.05)) as server:
        process = start(words(tmp_path, server.url, concurrency=4), start_new_session=True)
        journal = tmp_path / "out" / "o.journal.jsonl"
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 10)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 130, err
        kept = len(read_lines(journal))
        assert f"{kept} of 400 rows are finished and kept in" in err
        assert "Traceback" not in err
        assert "rows/s" in out, "what was paid is told"
        assert kept < 400
        server.behaviour.latency = 0.0
        run_synth(words(tmp_path, server.url))
    assert len(read_lines(tmp_path / "out" / "o.jsonl")) == 400


def test_ctrl_c_is_heard_between_groups_of_a_local_model(tmp_path: Path) -> None:
    """A local model never gives the event loop a turn; here a worker that does not even load one."""
    groups: list[list[str]] = []

    class Worker:
        def __init__(self, arguments: Any, pool: Any) -> None:
            pass

        async def work(self, rows: list[Row]) -> list[str]:
            groups.append([row.id for row in rows])
            if len(groups) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return [row.id for row in rows]

    pipeline = SimpleNamespace(Worker=Worker, work_item=lambda row, arguments: {"id": row.id})
    given = {"engine": "hf", "base_url": None, "model": None, "model_name_or_path": "m", "template": "qwen2_vl"}
    arguments = build_arguments(read_settings(words(tmp_path, "", **given, batch_size=2)))[1]
    rows = [Row(f"r{row}", "f", row, {}, {}) for row in range(8)]
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(pipeline, arguments, rows, [])
    assert groups == [["r0", "r1"], ["r2", "r3"]]
    assert len(read_lines(tmp_path / "out" / "o.journal.jsonl")) == 4


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(4))
    with OpenAIServer(Behaviour(kinds=("hang",), faults=1.0)) as server:
        process = start(words(tmp_path, server.url))
        try:
            wait_until(lambda: server.calls == 4)
            with pytest.raises(SystemExit, match=f"process {process.pid} writes it"):
                run_synth(words(tmp_path, server.url))
        finally:
            process.kill()
            process.communicate()


def test_shards_join_to_what_one_run_gives(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Reports, too: the median of the quadrants is that of all rows, not of one shard's."""
    write_dataset(tmp_path, [*text_rows(11), {"id": "bad"}, *({**row, "id": f"s{row['id']}"} for row in text_rows(3))])
    with OpenAIServer() as server:
        run_synth(knowledge_words(tmp_path, server.url, output=tmp_path / "whole" / "o.jsonl", output_dataset="o"))
        whole = server.calls
        for number in (3, 1, 2):
            run_synth(knowledge_words(tmp_path, server.url, shard=f"{number}/3"))
        assert server.calls == 2 * whole, "each call once"
        samples = tmp_path / "out" / "o.shard-2-of-3.samples.jsonl"
        assert [row["id"] for row in read_lines(samples)] == ["r1", "r4", "r7", "r10", "sr1"]
        assert "o.shard-2-of-3" not in (tmp_path / "dataset_info.json").read_text()
        capsys.readouterr()
        run_synth(knowledge_words(tmp_path, server.url, merge=3))
        assert server.calls == 2 * whole
    for name in ("o.jsonl", "o.samples.jsonl", "o.quadrants.json", "o.failures.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "out" / "o.journal.jsonl").exists()


def test_shards_that_do_not_fit_are_refused_with_a_list(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(12))
    with OpenAIServer() as server:

        def refused(**more: Any) -> str:
            with pytest.raises(SystemExit) as error:
                run_synth(words(tmp_path, server.url, merge=3, **more))
            assert not (tmp_path / "out" / "o.jsonl").exists()
            return str(error.value)

        run_synth(words(tmp_path, server.url, shard="1/3"))
        said = refused()
        assert "shard 2" in said
        assert "shard 3" in said
        assert "shard 1:" not in said
        run_synth(words(tmp_path, server.url, shard="2/3", answer_max_new_tokens=3))
        server.behaviour.script = refuse({"r8"})
        run_synth(words(tmp_path, server.url, shard="3/3"))
        said = refused()
        assert "shard 2: got '4 others: r1, r4, r7 and 1 more'" in said
        assert "shard 3" not in said, "its failed row is known to have failed"
        write_dataset(tmp_path, text_rows(13))
        run_synth(words(tmp_path, server.url, shard="2/3"))
        assert "1 rows in no shard: r12" in refused()
        write_dataset(tmp_path, text_rows(12))
        run_synth(words(tmp_path, server.url, merge=3))
    assert [row["id"] for row in read_lines(tmp_path / "out" / "o.jsonl")] == [f"r{n}" for n in range(12) if n != 8]
    assert [row["id"] for row in read_lines(tmp_path / "out" / "o.failures.jsonl")] == ["r8"]


def test_a_shard_that_was_stopped_is_not_finished(tmp_path: Path) -> None:
    """All its rows are in the journal or among the failures, but it never came to its end."""
    write_dataset(tmp_path, text_rows(4))
    with OpenAIServer() as server:
        for number in (1, 2):
            run_synth(words(tmp_path, server.url, shard=f"{number}/2"))
        (tmp_path / "out" / "o.shard-2-of-2.jsonl").unlink()
        with pytest.raises(SystemExit, match="shard 2: got 'no output'"):
            run_synth(words(tmp_path, server.url, merge=2))


def test_a_dry_run_calls_nothing_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_dataset(tmp_path, text_rows(5))
    run_synth(words(tmp_path, "http://127.0.0.1:9/v1", dry_run=2, api_key_env="NOT_SET_ANYWHERE"))
    shown = capsys.readouterr().out
    assert shown.count("Answer briefly.") == 2
    assert not (tmp_path / "out").exists()


def test_a_key_is_asked_for_before_anything_and_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_dataset(tmp_path, text_rows(3))
    key = "sk-0123456789abcdefghij"
    with OpenAIServer(Behaviour(api_key=key)) as server:
        with pytest.raises(SystemExit, match="SYNTH_TEST_KEY is not set"):
            run_synth(words(tmp_path, server.url, api_key_env="SYNTH_TEST_KEY"))
        with pytest.raises(SystemExit) as error:
            run_synth(words(tmp_path, server.url, api_key_env=key))
        assert key not in str(error.value)
        assert server.calls == 0
        monkeypatch.setenv("SYNTH_TEST_KEY", key)
        run_synth(words(tmp_path, server.url, api_key_env="SYNTH_TEST_KEY"))
        monkeypatch.setenv("SYNTH_TEST_KEY", key + "-wrong")
        with pytest.raises(SystemExit, match="401"):
            run_synth(words(tmp_path, server.url, api_key_env="SYNTH_TEST_KEY", model="m2"))
    said = capsys.readouterr()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert key.encode() not in written
    assert key not in said.out + said.err


def test_a_server_without_logprobs_stops_a_pipeline_that_needs_them_at_once(tmp_path: Path) -> None:
    write_dataset(tmp_path, text_rows(200))
    with OpenAIServer(Behaviour(logprobs=False)) as server:
        with pytest.raises(SystemExit, match="log-probabilities"):
            run_synth(knowledge_words(tmp_path, server.url, concurrency=2))
        assert server.calls < 30


def test_neither_torch_nor_the_host_is_loaded(tmp_path: Path, run_python: Any) -> None:
    write_dataset(tmp_path, text_rows(3))
    code = (
        COMMAND
        + "; print('loaded:', sorted({'torch', 'llamafactory', 'transformers', 'datasets', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    with OpenAIServer() as server:
        done = run_python("-c", code, *words(tmp_path, server.url), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout


def test_the_progress_line_tells_tokens_failures_and_cost(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """10 rows known of 30: the rate is of the 20 others. Every answer of the test server has three tokens."""
    write_dataset(tmp_path, text_rows(30))
    with OpenAIServer(Behaviour(script=refuse({"r20"}))) as server:
        run_synth(words(tmp_path, server.url, max_samples=10))
        capsys.readouterr()
        run_synth(words(tmp_path, server.url, price_in=0.0, price_out=1e6))
        said = capsys.readouterr().err
    assert "10 reused" in said
    last = said.split("\r")[-1]
    assert "30/30" in last
    assert "tokens=57, failures=1, cost=57" in last


@pytest.mark.slow
def test_the_benchmark_runs(run_python: Any) -> None:
    done = run_python(str(ROOT / "benchmarks" / "synth.py"), "--quick", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exact 2 of 2; recorded calls paid again 0" in done.stdout
