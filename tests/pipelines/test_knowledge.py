"""`pipeline: knowledge` run for real on the small world: the same output whether killed or not, rules that hold, the real command."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.engines.interface import Request
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.weights import load_weights
from llamafactory_hind.formats.prompts.wording import build_prompt
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.engines import ask, make_representative, score_texts
from shared.store import kept
from shared.warm import Processes


SYNTH = "import sys; from llamafactory_hind.pipelines.runner.run import run_synth; run_synth(sys.argv[1:])"


@pytest.fixture(scope="module")
def speaker(small_world: Path) -> Path:
    """A checkpoint that looks at its input and stops after a few tokens."""
    return kept("speaker", lambda folder: write_speaker(small_world, folder))


def write_speaker(small_world: Path, path: Path) -> None:
    weights = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl"})
    make_representative(weights, small_world)
    weights.model.save_pretrained(path)
    weights.tokenizer.save_pretrained(path)
    weights.processor.save_pretrained(path)


@pytest.fixture
def world(small_world: Path, tmp_path: Path) -> Path:
    """A world of one's own, to write into; images are shared."""
    for name in ("images", "clips"):
        (tmp_path / name).symlink_to(small_world / name)
    shutil.copytree(small_world / "rows", tmp_path / "rows")
    shutil.copy(small_world / "dataset_info.json", tmp_path)
    return tmp_path


def words(world: Path, speaker: Path, output: Path, **more: Any) -> list[str]:
    given = {
        "pipeline": "knowledge",
        "model_name_or_path": speaker,
        "template": "qwen2_vl",
        "dataset_dir": world,
        "dataset": "hindsight_train",
        "output": output / "pairs.json",
        "num_samples": 6,
        "max_new_tokens": 10,
        "batch_size": 3,
        "pair_rule": "best_worst",
        "max_samples": 12,
    }
    return [f"{key}={value}" for key, value in (given | more).items()]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(output: Path) -> dict[str, bytes]:
    return {
        name: (output / name).read_bytes() for name in ("pairs.json", "pairs.samples.jsonl", "pairs.quadrants.json")
    }


def test_rows_samples_and_registration(world: Path, speaker: Path, capsys: pytest.CaptureFixture) -> None:
    info_before = json.loads((world / "dataset_info.json").read_text())
    run_synth(words(world, speaker, world / "out"))
    pairs = json.loads((world / "out" / "pairs.json").read_text())
    samples = read_lines(world / "out" / "pairs.samples.jsonl")
    source = {row["id"]: row for row in json.loads((world / "rows" / "hindsight_train.json").read_text())[:12]}
    assert [row["id"] for row in samples] == list(source), "order is kept"
    assert len(pairs) > 3, "the untrained model must give some pairs, or nothing below is tried"
    by_id = {row["id"]: row for row in samples}
    for pair in pairs:
        row_id = pair["provenance"]["source_id"]
        told = {sample["text"]: sample for sample in by_id[row_id]["samples"] if sample["usable"]}
        best, worst = max(told.values(), key=lambda s: s["value"]), min(told.values(), key=lambda s: s["value"])
        assert pair["helpfulness"] == best["value"] > worst["value"] == pair["rejected_helpfulness"]
        assert told[pair["chosen"]]["confidence"] == pair["chosen_confidence"] < 0
        for key in ("images", "question", "answer", "answers", "thing", "misaligned"):
            assert pair[key] == source[row_id][key]
        assert pair["provenance"]["parameters"]["num_samples"] == 6
    info = json.loads((world / "dataset_info.json").read_text())
    entry = info.pop("pairs")
    assert info == info_before
    assert entry["formatting"] == "hindsight"
    assert entry["ranking"] is True
    assert (world / entry["file_name"]).samefile(world / "out" / "pairs.json")
    with Image.open(world / "out" / "pairs.quadrants.png") as plot:
        plot.load()
    assert "registered as `pairs`" in capsys.readouterr().out

    before = results(world / "out")
    run_synth(words(world, speaker, world / "out"))
    said = capsys.readouterr()
    assert "12 reused" in said.err
    assert "0 to do" in said.err
    assert results(world / "out") == before

    # another pair rule needs no new call; another seed is new work, and the old work items stay
    run_synth(words(world, speaker, world / "out", pair_rule="all"))
    assert "12 reused" in capsys.readouterr().err
    run_synth(words(world, speaker, world / "out", seed=1))
    assert "0 reused" in capsys.readouterr().err
    assert len(read_lines(world / "out" / "pairs.journal.jsonl")) == 24
    assert results(world / "out") != before


def test_confidence_and_gain_are_those_of_the_engine(world: Path, speaker: Path) -> None:
    """Recomputed outside the pipeline, one row at a time."""
    run_synth(words(world, speaker, world / "out", max_samples=4))
    one = LocalEngine(load_weights(str(speaker), settings={"template": "qwen2_vl"}), batch_size=1)
    rows = json.loads((world / "rows" / "hindsight_train.json").read_text())
    checked = 0
    for row, found in zip(rows, read_lines(world / "out" / "pairs.samples.jsonl"), strict=False):

        def score(target: str, text: str, facts: list[str], row: dict[str, Any] = row) -> Any:
            prompt = build_prompt(target, row["question"], images=1, **({"knowledge": facts} if facts else {}))
            return score_texts(one, [ask(prompt, world / row["images"][0])], [text])[0]

        without = score("answer", row["answer"], []).logprob
        assert found["without"] == pytest.approx(without, abs=1e-4)
        for sample in (found["greedy"], *found["samples"]):
            if sample["usable"]:
                gain = score("answer", row["answer"], [sample["text"]]).logprob - without
                assert sample["value"] == pytest.approx(gain, abs=1e-3)
                assert sample["helpful"] == (gain > 0)
                checked += 1
    assert checked > 2


@pytest.mark.parametrize("helpful_by", ["outcome", "lexical"])
def test_other_rules_run(world: Path, speaker: Path, helpful_by: str) -> None:
    run_synth(words(world, speaker, world / "out", helpful_by=helpful_by, max_samples=3))
    for row in read_lines(world / "out" / "pairs.samples.jsonl"):
        assert (row["without"] is None) == (helpful_by == "lexical")
        for sample in row["samples"]:
            assert helpful_by == "outcome" or sample["value"] in (0.0, 1.0)
            assert not sample["usable"] or (sample["answerer"] is None) == (helpful_by == "lexical")


def test_bad_rows_are_told_and_the_others_kept(world: Path, speaker: Path, capsys: pytest.CaptureFixture) -> None:
    file = world / "rows" / "hindsight_train.json"
    rows = json.loads(file.read_text())[:4]
    rows[1]["images"] = ["images/gone.png"]
    rows[2]["question"] = ""
    file.write_text(json.dumps(rows))
    run_synth(words(world, speaker, world / "out"))
    assert [row["id"] for row in read_lines(world / "out" / "pairs.samples.jsonl")] == [rows[0]["id"], rows[3]["id"]]
    failures = read_lines(world / "out" / "pairs.failures.jsonl")
    assert [(failure["number"], failure["id"]) for failure in failures] == [(2, rows[1]["id"]), (3, rows[2]["id"])]
    assert "row 2" in capsys.readouterr().err


def test_a_row_that_fails_at_work_costs_only_itself(
    world: Path, speaker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second row's picture vanishes after the check; it is tried again on the next start."""
    rows = json.loads((world / "rows" / "hindsight_train.json").read_text())
    encode = LocalEngine.encode

    def refuse(self: LocalEngine, request: Request, answer: Any = None) -> Any:
        if request.key == rows[1]["id"]:
            raise OSError("image file is truncated")
        return encode(self, request, answer)

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "encode", refuse)
        run_synth(words(world, speaker, world / "out", max_samples=6))
    (failure,) = read_lines(world / "out" / "pairs.failures.jsonl")
    assert failure["id"] == rows[1]["id"]
    assert "image file is truncated" in failure["reason"]
    assert len(read_lines(world / "out" / "pairs.samples.jsonl")) == 5
    run_synth(words(world, speaker, world / "out", max_samples=6))
    assert [row["id"] for row in read_lines(world / "out" / "pairs.samples.jsonl")] == [row["id"] for row in rows[:6]]
    assert not (world / "out" / "pairs.failures.jsonl").exists()


def run_silently(argv: list[str]) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        run_synth(argv)


@pytest.mark.slow
def test_killed_and_started_again_is_the_same_as_never_killed(world: Path, speaker: Path) -> None:
    """SIGKILL after 1, 4 and 8 rows are known, each time in the middle of the work; then to the end."""
    run_silently(words(world, speaker, world / "whole"))
    argv = words(world, speaker, world / "killed", batch_size=3)
    journal = world / "killed" / "pairs.journal.jsonl"
    kills = 0
    for rows_known in (1, 4, 8):
        process = Processes(SYNTH, argv, world / "synth.log")
        while process.running():
            if journal.exists() and journal.read_bytes().count(b"\n") >= rows_known:
                process.kill()
                kills += 1
                break
            time.sleep(0.001)
        with open(journal, "ab") as file:  # what a kill in the middle of a write leaves
            file.write(b'{"key": "abc", "res')
    assert kills == 3
    run_silently(argv)
    lines = read_lines(journal)
    assert len({line["key"] for line in lines}) == len(lines) == 12, "none lost, none twice"
    whole, killed = results(world / "whole"), results(world / "killed")
    assert whole == killed


@pytest.mark.slow
def test_the_real_command(world: Path, speaker: Path) -> None:
    command = [str(Path(sys.executable).with_name("llamafactory-cli")), "synth"]
    config = world / "knowledge.json"
    config.write_text(json.dumps(dict(word.split("=", 1) for word in words(world, speaker, world / "out"))))
    numbers = ["num_samples=4", "max_new_tokens=8", "batch_size=2", "max_samples=4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(config), *numbers], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sampled helpful rate" in done.stdout
    assert len(read_lines(world / "out" / "pairs.samples.jsonl")) == 4
    assert "tokens=" in done.stderr, "the progress bar tells the rate"
    done = subprocess.run(
        [*command, str(config), "num_sampels=4"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert "The nearest key is `num_samples`" in done.stderr
    assert "Traceback" not in done.stderr


def test_dry_run_shows_prompts_and_loads_nothing(world: Path, capsys: pytest.CaptureFixture) -> None:
    run_synth(words(world, Path("no/such/model"), world / "out", dry_run=2))
    shown = capsys.readouterr().out
    assert shown.count("Write one fact that helps to answer.") == 2
    assert "Knowledge: <the fact>" in shown
    assert not (world / "out").exists()


def test_help_lists_the_keys(capsys: pytest.CaptureFixture) -> None:
    run_synth(["--help"])
    shown = capsys.readouterr().out
    assert "helpful_by" in shown
    assert "pipeline: knowledge - " in shown
