"""`llamafactory-cli check`: everything at once, as a table and as JSON, with the exit status of the worst."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.check.command import run_check
from llamafactory_hind.check.findings import Report
from llamafactory_hind.check.surroundings import check_output_folder, check_resumed
from llamafactory_hind.storage.checkpoints import seal
from shared.checkpoints import fill, gone


def words(world: Path, out: Path, **settings: Any) -> list[str]:
    given = {
        "model_name_or_path": world / "tiny", "stage": "grpo", "dataset_dir": world, "media_dir": world, "template": "qwen2_vl",
        "do_train": True, "finetuning_type": "full", "reward_funcs": "[accuracy,format]", "output_dir": out, "report_to": "none",
        "dataset": "color_train", "cutoff_len": 512, "max_new_tokens": 8, "max_steps": 10, "num_generations": 4,
        "per_device_train_batch_size": 2, "bf16": False, "preprocessing_num_workers": 1, **settings,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in given.items()]


def check(capfd, *argv: str) -> tuple[int, dict[str, Any]]:
    """Run the check; return its status and its JSON."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_check([*argv, "--json"])
    out = capfd.readouterr().out
    report = json.loads(out[out.index('{\n  "configuration"') :])  # what a logger of this process prints is before it
    assert report["status"] == ended.value.code
    return ended.value.code, report


def found(report: dict[str, Any], subject: str) -> list[dict[str, str]]:
    return [finding for finding in report["findings"] if finding["subject"] == subject]


def own_rows(world: Path, folder: Path) -> Path:
    """A dataset of four rows: two good, one without its picture, one whose gold answer no completion can earn."""
    rows = [
        {"id": "a", "prompt": "How many?", "answer": "1"},
        {"id": "b", "prompt": "<image>How many?", "images": ["absent.png"], "answer": "2"},
        {"id": "c", "prompt": "How many?", "answer": "3"},
        {"id": "d", "prompt": "How many?", "answer": "<answer>x</answer> and more"},
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    info = {"mine": {"file_name": "rows.json", "formatting": "rollout"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_a_good_configuration_has_notes_alone(small_world: Path, tmp_path: Path, capfd) -> None:
    """10 steps of 2 prompts, 4 completions each: 80 completions, at most 640 tokens of 8 each."""
    status, report = check(capfd, *words(small_world, tmp_path / "out"))
    assert status == 0, report
    assert "6 good rows, 0 bad ones" in found(report, "rows")[0]["message"]
    assert any("the gold answer earns 1 in all" in finding["message"] for finding in found(report, "rewards"))
    steps = next(finding for finding in found(report, "estimate") if finding["place"] == "steps")["message"]
    assert "10 steps" in steps
    assert "80 completions, 640 written tokens at most" in steps
    assert "M numbers" in next(one for one in found(report, "estimate") if one["place"] == "memory")["message"]
    assert found(report, "disk")
    assert not (tmp_path / "out").exists(), "a check writes nothing"


@pytest.mark.parametrize("key", ["output_dir", "resume_from_checkpoint"])
def test_weights_alone_are_an_error_where_training_refuses_them(tmp_path: Path, key: str) -> None:
    fill(tmp_path / "checkpoint-2", 2)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        gone(name)(tmp_path / "checkpoint-2")
    seal(tmp_path / "checkpoint-2", step=2, run={})
    report = Report("run.yaml")
    if key == "output_dir":
        check_output_folder(tmp_path, report, exact=True)
    else:
        check_resumed(tmp_path / "checkpoint-2", report)
    (found,) = report.findings
    assert found.level == "error"
    assert "save_only_model: true" in found.message
    check_output_folder(tmp_path, report, exact=False)  # a stage of the host goes on with a new optimizer
    assert [one.level for one in report.findings] == ["error", "warning"]


def test_rows_rewards_packages_and_output_are_told_together(small_world: Path, tmp_path: Path, capfd) -> None:
    (tmp_path / "out" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    data = own_rows(small_world, tmp_path / "data")
    given = words(
        small_world, tmp_path / "out", dataset_dir=data, media_dir=data, dataset="mine", reward_funcs="[short]"
    )
    (tmp_path / "reward.py").write_text(
        "def short(completions, **c):\n    return [float(len(c) < 10) for c in completions]\n"
    )
    given = [word for word in given if not word.startswith("reward_funcs")]
    status, report = check(capfd, *given, f"reward_funcs=[accuracy,{tmp_path}/reward.py:short]")
    assert status == 2
    (bad,) = [finding for finding in found(report, "rows") if finding["level"] == "error"]
    assert bad["place"].endswith("rows.json, row 2")
    assert "absent.png" in bad["message"]
    less = [finding for finding in found(report, "rewards") if finding["level"] == "warning"]
    assert any("short" in finding["place"] and "in 3 of 3 rows (100.0%)" in finding["message"] for finding in less)
    (output,) = found(report, "output")
    assert output["level"] == "warning"
    assert "no optimizer" in output["message"]
    levels = [finding["level"] for finding in report["findings"]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_skipped_rows_are_warnings(small_world: Path, tmp_path: Path, capfd) -> None:
    data = own_rows(small_world, tmp_path)
    given = words(small_world, tmp_path / "out", dataset_dir=data, media_dir=data, dataset="mine")
    status, report = check(capfd, *given, "skip_bad_rows=true")
    assert status == 1
    assert any("absent.png" in finding["message"] for finding in found(report, "rows"))


def test_wrong_keys_are_told_at_once_without_the_rest(small_world: Path, tmp_path: Path, capfd) -> None:
    status, report = check(capfd, *words(small_world, tmp_path, check_memory=0, check_processes=0))
    assert (status, [one["place"] for one in report["findings"]]) == (2, ["check_memory", "check_processes"])
    given = words(small_world, tmp_path, kl_beta=-1, num_generation=3, check_rows=0)
    status, report = check(capfd, *given)
    assert (status, [one["place"] for one in report["findings"]]) == (2, ["check_rows"])
    status, report = check(capfd, *[word for word in given if not word.startswith("check_rows")])
    assert status == 2
    assert {one["place"] for one in report["findings"]} == {"kl_beta", "num_generation"}


def test_an_estimate_above_the_memory_is_a_warning(small_world: Path, tmp_path: Path, capfd) -> None:
    """Twice the processes, half the steps of a run by epochs."""
    given = words(small_world, tmp_path, max_steps=-1, num_train_epochs=2)
    for memory, processes, status, steps in ((1000, 1, 0, "6 steps"), (0.001, 2, 1, "4 steps")):
        ended, report = check(capfd, *given, f"check_memory={memory}", f"check_processes={processes}")
        assert ended == status, report
        said = {one["place"]: one for one in found(report, "estimate")}
        assert steps in said["steps"]["message"]
        assert said["memory"]["level"] == ("warning" if status else "note")
        assert f"of {memory:.1f} GiB" in said["memory"]["message"]


def test_check_rows_limits_what_is_looked_at(small_world: Path, tmp_path: Path, capfd) -> None:
    _, report = check(capfd, *words(small_world, tmp_path), "check_rows=2")
    assert "2 good rows" in found(report, "rows")[0]["message"]


def test_a_teacher_is_looked_at_without_loading_it(small_world: Path, tmp_path: Path, capfd, monkeypatch) -> None:
    """A file with a wrong key, and one that asks for a package that is not here: each an error, with the estimate beside it."""
    monkeypatch.setattr("llamafactory_hind.config.packages.find_spec", lambda name: None)
    given = words(small_world, tmp_path / "out", stage="gated_distill")
    for content, subject, says in (
        ({"modell": "x"}, "keys", "modell"),
        ({"model_name_or_path": str(small_world / "tiny"), "quantization_bit": 4}, "packages", "bitsandbytes"),
    ):
        (tmp_path / "teacher.yaml").write_text(json.dumps(content))
        status, report = check(capfd, *given, f"teacher={tmp_path / 'teacher.yaml'}", "check_rows=2")
        assert status == 2
        assert any(says in one["message"] and one["place"] == "teacher" for one in found(report, subject)), report
        assert any(one["place"] == "memory" for one in found(report, "estimate"))


def test_a_pipeline_counts_prompts_and_looks_for_its_server(small_world: Path, tmp_path: Path, capfd) -> None:
    from shared.openai_server import OpenAIServer

    given = ["pipeline=hints", "engine=openai", "model=m", "dataset=color_train", f"dataset_dir={small_world}"]
    given += [f"media_dir={small_world}", f"output={tmp_path / 'o.jsonl'}"]
    with OpenAIServer() as server:
        status, report = check(capfd, *given, f"base_url={server.url}")
        assert (status, server.calls) == (0, 0)
        assert "No call was made" in found(report, "server")[0]["message"]
        status, report = check(capfd, *given, f"base_url={server.url}", "check_calls=true")
        assert (status, server.calls) == (0, 1)
    status, report = check(capfd, *given, f"base_url={server.url}")
    assert status == 2
    assert "cannot be reached" in found(report, "server")[0]["message"]
    assert not list(tmp_path.iterdir()), "a check writes nothing"


def test_scores_are_matched_and_not_computed(tmp_path: Path, capfd) -> None:
    rows = [{"id": "a", "question": "?", "prediction": "x", "answers": ["x"] * 10}]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    status, report = check(capfd, "metric=vqa_accuracy", f"predictions={tmp_path / 'p.json'}")
    assert status == 0, report
    assert "1 questions" in found(report, "rows")[0]["message"]
    (tmp_path / "p.json").write_text(json.dumps([*rows, rows[0]]))
    status, report = check(capfd, "metric=vqa_accuracy", f"predictions={tmp_path / 'p.json'}")
    assert status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_the_table_has_the_worst_first_and_counts(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    report = Report("a.yaml")
    report.add("note", "disk", "out", "1.0 GiB free.")
    for number in range(25):
        report.add("error", "rows", f"f.json, row {number}", "wrong")
    report.print(as_json=False)
    out = capsys.readouterr().out
    assert out.index("f.json, row 0") < out.index("1.0 GiB free")
    assert "row 19" in out
    assert "row 20" not in out
    assert "… and 5 more; --json lists all" in out
    assert "25 errors, 0 warnings, 1 note" in out
    assert report.status == 2


@pytest.mark.slow
def test_the_command_checks_a_stage_of_the_host_and_prints_nothing_else(
    small_world: Path, tmp_path: Path, host_cli
) -> None:
    given = words(small_world, tmp_path / "out", stage="sft", dataset="base_see", cutoff_len=24)
    drop = ("reward_funcs", "num_generations")
    done = host_cli("check", *[word for word in given if not word.startswith(drop)], "check_rows=8", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == report["status"] == 1, done.stderr
    assert "they were cut" in found(report, "lengths")[0]["message"]
    assert "8 good rows" in found(report, "rows")[0]["message"]
    assert not (tmp_path / "out").exists()
