"""`llamafactory-cli score`: keys, files of predictions, matching, means by hand, and the real command line."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from llamafactory_hind.config.problem import ConfigError
from llamafactory_hind.evaluation import vqa_accuracy
from llamafactory_hind.evaluation.arguments import ScoreArguments, build_arguments, help_text, read_settings
from llamafactory_hind.evaluation.metrics import get_metric, metric_names
from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.formats.prompts.wording import build_prompt


ROOT = Path(__file__).resolve().parents[2]


def row(number: int, *, question: str = "What is it?", **columns: Any) -> dict[str, Any]:
    """A reference row: seven say cab, two say bus, one says train."""
    answers = ["cab"] * 7 + ["bus"] * 2 + ["train"]
    return {"id": f"q{number}", "question": question, "answer": "cab", "answers": answers, **columns}


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def score(path: Path, **settings: Any) -> dict[str, Any]:
    """Score a file of predictions as the command does and return its summary."""
    words = [f"{key}={value}" for key, value in settings.items()]
    run_score([f"predictions={path}", *words])
    return json.loads(path.with_suffix(".score.json").read_text())


def refusal(path: Path, **settings: Any) -> str:
    """Return what the command says when it stops; it has written nothing."""
    with pytest.raises(SystemExit) as stopped:
        score(path, **settings)
    assert not list(path.parent.glob("*.score.*"))
    return str(stopped.value)


def dataset(folder: Path, rows: list[dict[str, Any]], **entry: Any) -> None:
    """Write a dataset called `val` into the folder."""
    write(folder / "val.json", rows)
    info = {"val": {"file_name": "val.json", "formatting": "hindsight", **entry}}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def host_line(reference: dict[str, Any], predict: str, **changed: Any) -> dict[str, Any]:
    """One line of the host's file: the decoded prompt, the decoded answer, the decoded label."""
    images = len(reference.get("images") or [])
    user = build_prompt("answer", reference["question"], choices=reference.get("choices"), images=images)
    user = user.replace("<image>", "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>")
    prompt = f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    return {"prompt": prompt, "predict": predict, "label": reference["answer"] + "\n", **changed}


# Means


def test_means_groups_and_files_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """cab: 7 of 10, leaving one out still 6 or more: 1.0. bus: 2 of 10: eight see 2/3, two see 1/3: 0.6. ship: 0.

    Mean 1.6 / 3. Deviation: squares of 7/15, 1/15 and 8/15 over n - 1 = 2: (49 + 1 + 64) / 450 = 114 / 450.
    """
    rows = [
        row(1, prediction=" cab\n", kind="road"),
        row(2, prediction="the Bus!", kind="road"),
        row(3, prediction="ship", kind="sea"),
    ]
    summary = score(write(tmp_path / "p.json", rows), metric="vqa_accuracy", group_by="kind")
    found = summary["metrics"]["vqa_accuracy"]
    assert found["score"] == pytest.approx(1.6 / 3, abs=1e-12)
    half = 1.96 * math.sqrt(114 / 450) / math.sqrt(3)
    assert found["interval"] == [0.0, 1.0] == [max(0, 1.6 / 3 - half), min(1, 1.6 / 3 + half)]
    assert (found["questions"], found["missing"], found["dropped"], found["remarks"]) == (3, 0, {}, {})
    assert found["groups"]["road"]["score"] == pytest.approx(0.8)
    assert found["groups"]["sea"] == {"score": 0.0, "questions": 1, "interval": None}
    assert summary["settings"]["metric"] == "vqa_accuracy"
    lines = [json.loads(line) for line in (tmp_path / "p.score.questions.jsonl").read_text().splitlines()]
    assert [line["scores"]["vqa_accuracy"] for line in lines] == pytest.approx([1.0, 0.6, 0.0])
    assert lines[1]["prediction"] == "the Bus!"
    assert lines[0] | {"scores": None} == {
        "id": "q1",
        "question": "What is it?",
        "prediction": " cab\n",
        "answer": "cab",
        "references": {"answers": rows[0]["answers"]},
        "scores": None,
        "group": "road",
    }
    shown = capsys.readouterr().out
    assert "53.33" in shown
    assert "80.00" in shown
    assert "p.score.json" in shown


def test_the_interval_by_hand(tmp_path: Path) -> None:
    """50 right, 50 wrong: s = sqrt(25 / 99), half = 1.96 s / 10."""
    rows = [row(number, prediction="cab" if number % 2 else "ship") for number in range(100)]
    found = score(write(tmp_path / "p.jsonl", rows), metric="aokvqa_direct")["metrics"]["aokvqa_direct"]
    half = 1.96 * math.sqrt(25 / 99) / 10
    assert found["interval"] == pytest.approx([0.5 - half, 0.5 + half])


def test_direct_drops_difficult_questions_also_where_their_prediction_is_missing(tmp_path: Path, capsys) -> None:
    """1.0 for cab, 2/3 for bus; the third is marked and would score 0."""
    rows = [
        row(1, prediction="cab", difficult_direct_answer=False),
        row(2, prediction="bus", difficult_direct_answer=False),
        row(3, prediction=None, difficult_direct_answer=True),
    ]
    summary = score(write(tmp_path / "p.json", rows), metric="aokvqa_direct")
    found = summary["metrics"]["aokvqa_direct"]
    assert found["score"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["questions"], found["dropped"], found["missing"]) == (2, {"difficult_direct_answer": 1}, 0)
    assert "1 questions dropped: difficult_direct_answer" in capsys.readouterr().err


@pytest.mark.parametrize(("matching", "expected", "unmatched"), [("lenient", 3 / 5, 1), ("exact", 1 / 5, 4)])
def test_choice_matching(tmp_path: Path, capsys, matching: str, expected: float, unmatched: int) -> None:
    columns = {"choices": ["cab", "bus"], "correct_choice": "bus"}
    texts = ["bus", "(B)", "b) bus", "A", "a ship"]
    rows = [row(number, prediction=text, **columns) for number, text in enumerate(texts)]
    path = write(tmp_path / "p.json", rows)
    found = score(path, metric="aokvqa_choice", choice_matching=matching)["metrics"]["aokvqa_choice"]
    assert found["score"] == pytest.approx(expected)
    assert found["remarks"] == {"none of the choices": unmatched}
    assert f"{unmatched} of 5 questions: none of the choices" in capsys.readouterr().err


def test_the_answer_is_cut_out_of_reasoning_and_failures_are_told(tmp_path: Path, capsys) -> None:
    texts = ["Answer: bus. No: it is yellow. Answer:  cab \nGood.", "I think it is a cab", "Answer: cab"]
    rows = [row(number, prediction=text) for number, text in enumerate(texts)]
    summary = score(write(tmp_path / "p.json", rows), metric="vqa_accuracy", answer_pattern="Answer:([^.\n]*)")
    found = summary["metrics"]["vqa_accuracy"]
    assert found["score"] == pytest.approx(2 / 3)
    assert found["remarks"] == {"answer_pattern found no answer, scored 0": 1}
    assert "1 of 3 questions: answer_pattern found no answer" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "p.score.questions.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines] == ["cab", None, "cab"]


def test_what_is_not_found_never_matches_an_empty_reference(tmp_path: Path) -> None:
    """The official normalisation makes `the` empty; a prediction without answer must not equal it."""
    rows = [row(1, prediction="no answer here") | {"answers": ["the"] * 9 + ["cab"]}]
    summary = score(write(tmp_path / "p.json", rows), metric="vqa_accuracy", answer_pattern="Answer:(.*)")
    assert summary["metrics"]["vqa_accuracy"]["score"] == 0.0


def test_few_references_and_empty_predictions_are_told(tmp_path: Path, capsys) -> None:
    rows = [row(1, prediction="cab") | {"answers": ["cab"]}, row(2, prediction="")]
    score(write(tmp_path / "p.json", rows), metric="vqa_accuracy,aokvqa_direct")
    told = capsys.readouterr().err
    assert "vqa_accuracy: 1 of 2 questions: fewer than 4 references" in told
    assert "aokvqa_direct: 1 of 2 questions: fewer than 3 references" in told
    assert "vqa_accuracy: 1 of 2 questions: empty prediction" in told


# Groups


def test_per_group_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """MRI: 3 of 4. CT: 1 of 2. OCT: 0 of 2. Mean of groups (3/4 + 1/2 + 0) / 3 = 5/12, while over questions it is 4/8.

    Unseen are CT and OCT: (1/2 + 0) / 2 = 1/4. Unbiased variances: 1/4 for MRI (squares 3/16 + 9/16 over 3), 1/2 for CT, 0 for OCT;
    standard errors sqrt(1/16 + 1/4 + 0) / 3 = sqrt(5) / 12 and sqrt(1/4 + 0) / 2 = 1/4.
    """
    said = [("MRI", "B"), ("MRI", "(B)"), ("MRI", "glioma"), ("MRI", "A"), ("CT", "B. glioma"), ("CT", "C")]
    said += [("OCT", "A"), ("OCT", "none of them")]
    rows = [
        {
            "id": str(number),
            "prediction": f"<think>A?</think><answer> {text} </answer>",
            "answer": "B",
            "choices": ["nothing", "glioma", "stroke"],
            "modality": modality,
        }
        for number, (modality, text) in enumerate(said)
    ]
    path = write(tmp_path / "p.json", rows)
    found = score(path, metric="per_group", group_by="modality", seen_groups="MRI")["metrics"]["per_group"]
    assert found["score"] == 0.5
    assert {name: part["score"] for name, part in found["groups"].items()} == {"CT": 0.5, "MRI": 0.75, "OCT": 0.0}
    over, unseen = found["mean_of_groups"], found["mean_of_unseen_groups"]
    assert (over["score"], over["groups"], over["questions"]) == (pytest.approx(5 / 12), 3, 8)
    assert over["standard_error"] == pytest.approx(math.sqrt(5) / 12)
    assert (unseen["score"], unseen["groups"], unseen["questions"]) == (0.25, 2, 4)
    assert unseen["standard_error"] == 0.25
    assert unseen["interval"] == [0.0, pytest.approx(0.25 + 1.96 / 4)]
    assert found["remarks"] == {"none of the choices": 1}
    shown = capsys.readouterr().out
    assert "mean: 3 groups" in shown
    assert "mean: 2 unseen" in shown
    exact = score(path, metric="per_group", group_by="modality", choice_matching="exact")["metrics"]["per_group"]
    assert exact["score"] == 0.25  # `B` and `glioma`, nothing looser
    assert "mean_of_unseen_groups" not in exact


def test_per_group_agrees_with_the_rewards(tmp_path: Path) -> None:
    """The rule for choices stands in two rooms; here they meet. The rule for tags is one: by hand."""
    from llamafactory_hind.formats.texts.layout import answer_or_all
    from llamafactory_hind.rewards import get_reward

    texts = [
        "<think>x</think><answer>\nB\n</answer>",
        "B",
        " b) dog",
        "<answer>cat</answer><answer>B</answer>",
        "<answer>B",
    ]
    texts += ["", "(A)", "<answer></answer>"]
    assert [answer_or_all(text) for text in texts] == ["B", "B", "b) dog", "cat", "<answer>B", "", "(A)", ""]
    for choices, name in ((["cat", "dog"], "choice"), (None, "accuracy")):
        columns = {"answer": "B", "choices": choices}
        expected = get_reward(name)(texts, **{key: [value] * len(texts) for key, value in columns.items()})
        arguments = ScoreArguments(metric="per_group", predictions="p.json", group_by="kind")
        metric = get_metric("per_group")
        assert [metric.score(text, columns, arguments).score for text in texts] == expected


def test_a_group_of_one_has_no_error_and_one_without_scores_does_not_count() -> None:
    from llamafactory_hind.evaluation.summary import mean_of_groups

    lone = mean_of_groups([[1.0], [0.0, 1.0], [None]])
    assert (lone["score"], lone["groups"], lone["questions"]) == (0.75, 2, 3)
    assert lone["standard_error"] is lone["interval"] is None
    assert mean_of_groups([[None]])["score"] is None


def test_groups_that_are_wrong_are_told(tmp_path: Path) -> None:
    rows = [row(number, prediction="cab", kind=kind) for number, kind in enumerate(("road", "sea"))]
    path = write(tmp_path / "p.json", rows)
    assert "group_by: got None, expected a column of the rows" in refusal(path, metric="per_group")
    assert "seen_groups: got 'road', expected `group_by` beside it" in refusal(
        path, metric="vqa_accuracy", seen_groups="road"
    )
    given = {"metric": "per_group", "group_by": "kind"}
    assert "The nearest is `road`" in refusal(path, **given, seen_groups="roads")
    assert "a group left that was not seen" in refusal(path, **given, seen_groups="sea,road")
    bad = write(tmp_path / "b.json", [rows[0] | {"answer": "D", "choices": ["cab", "bus"]}, rows[1] | {"answer": 4}])
    message = refusal(bad, **given)
    assert "b.json, row 1, metric per_group: correct choice: got 'D'" in message
    assert "b.json, row 2, metric per_group: answer: got 4, expected text" in message


def test_rollout_datasets_hold_references_too(tmp_path: Path) -> None:
    """By id, and by order for the host's file, whose prompt must contain the last turn."""
    rows = [
        {"id": n, "prompt": f"What is {n}?", "solution": n, "kind": "even" if n % 2 == 0 else "odd"} for n in range(4)
    ]
    dataset(tmp_path, rows, formatting="rollout", columns={"answer": "solution"})
    given = {"metric": "per_group", "group_by": "kind", "dataset": "val", "dataset_dir": tmp_path}
    by_id = write(tmp_path / "p.json", [{"id": str(n), "prediction": f"<answer>{n % 3}</answer>"} for n in range(4)])
    assert score(by_id, **given)["metrics"]["per_group"]["mean_of_groups"]["score"] == 0.75
    lines = [{"prompt": f"user\nWhat is {n}?\n", "predict": str(n), "label": f"{n}\n"} for n in range(4)]
    by_order = write(tmp_path / "generated_predictions.jsonl", lines)
    assert score(by_order, **given)["metrics"]["per_group"]["score"] == 1.0
    for written in tmp_path.glob("*.score.*"):
        written.unlink()
    assert "it does not contain the question 'What is 0?'" in refusal(
        write(tmp_path / "generated_predictions.jsonl", [lines[1], lines[0], *lines[2:]]), **given
    )
    dataset(tmp_path, [{"prompt": "a", "messages": []}, {"prompt": 3}], formatting="rollout")
    assert "val.json, row 2, field `question`: got nothing" in refusal(by_id, **given)


# Missing predictions


@pytest.mark.parametrize(("missing", "expected", "questions"), [("zero", 0.5, 2), ("skip", 1.0, 1)])
def test_a_missing_prediction_is_scored_as_asked_and_told(
    tmp_path: Path, capsys, missing: str, expected: float, questions: int
) -> None:
    path = write(tmp_path / "p.json", [row(1, prediction="cab"), row(2, prediction=None)])
    found = score(path, metric="vqa_accuracy", missing=missing)["metrics"]["vqa_accuracy"]
    assert (found["score"], found["questions"], found["missing"]) == (expected, questions, 1)
    assert f"1 questions have no prediction; they were {'scored 0' if missing == 'zero' else 'left out'}" in (
        capsys.readouterr().err
    )


def test_a_missing_prediction_stops_by_default(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [row(1, prediction="cab"), {**row(2), "prediction": None}])
    message = refusal(path, metric="vqa_accuracy")
    assert "1 of 2 questions have no prediction" in message
    assert "p.json, row 2: id 'q2'" in message
    assert "missing: zero" in message


def test_only_questions_that_count_can_be_missing(tmp_path: Path) -> None:
    """q2 is dropped: that it has no prediction matters to nobody, also behind one where it matters."""
    rows = [row(1, prediction=None), row(2, prediction=None, difficult_direct_answer=True), row(3, prediction="cab")]
    message = refusal(write(tmp_path / "p.json", rows), metric="aokvqa_direct")
    assert "1 of 3 questions have no prediction" in message
    assert "'q2'" not in message


def test_any_text_a_model_writes_can_be_written_down(tmp_path: Path) -> None:
    score(
        write(tmp_path / "p.json", [row(1, prediction="\ud83d [bold]"), row(2, prediction="cab")]),
        metric="vqa_accuracy",
    )
    lines = [json.loads(line) for line in (tmp_path / "p.score.questions.jsonl").read_text().splitlines()]
    assert lines[0]["prediction"] == "\ud83d [bold]"


def test_nothing_left_is_no_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [row(1, prediction="cab", difficult_direct_answer=True)])
    assert "aokvqa_direct: dropped {'difficult_direct_answer': 1}" in refusal(path, metric="aokvqa_direct")


# Predictions with ids


def test_references_of_a_dataset_are_found_by_id(tmp_path: Path, capsys) -> None:
    """The order differs, one prediction belongs to nobody, q3 is asked and missing."""
    dataset(tmp_path, [row(1), row(2), row(3)])
    predictions = [
        {"id": "q2", "prediction": "bus"},
        {"id": "q9", "prediction": "x"},
        {"id": "q1", "prediction": "cab"},
    ]
    path = write(tmp_path / "p.jsonl", predictions)
    summary = score(path, metric="vqa_accuracy", dataset="val", dataset_dir=tmp_path, missing="zero")
    found = summary["metrics"]["vqa_accuracy"]
    assert (found["score"], found["missing"], summary["unused_predictions"]) == (pytest.approx(1.6 / 3), 1, 1)
    assert "1 predictions belong to no question" in capsys.readouterr().err


def test_two_predictions_for_one_id_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [row(1, prediction="cab"), row(2, prediction="x"), row(1, prediction="bus")])
    message = refusal(path, metric="vqa_accuracy")
    assert f"{path}, row 3, field `id`: got 'q1', which {path}, row 1 has already" in message
    dataset(tmp_path, [row(1), row(2)])
    assert "has already" in refusal(path, metric="vqa_accuracy", dataset="val", dataset_dir=tmp_path)


def test_ids_of_another_dataset_and_ids_on_some_rows_only_are_refused(tmp_path: Path) -> None:
    dataset(tmp_path, [row(1), row(2)])
    given = {"metric": "vqa_accuracy", "dataset": "val", "dataset_dir": tmp_path}
    path = write(tmp_path / "p.json", [{"id": "z1", "prediction": "cab"}])
    assert "No prediction has the id of a row" in refusal(path, **given)
    path = write(tmp_path / "p.json", [{"id": "q1", "prediction": "cab"}, {"prediction": "cab"}])
    assert "p.json, row 2, field `id`: got nothing" in refusal(path, **given)


def test_renamed_columns_of_a_dataset_are_read_under_our_names(tmp_path: Path) -> None:
    rows = [{"uid": 5, "ask": "What is it?", "gold": ["cab"] * 10}]
    dataset(tmp_path, rows, columns={"id": "uid", "question": "ask", "answers": "gold"})
    path = write(tmp_path / "p.json", [{"id": "5", "prediction": "cab"}])
    summary = score(path, metric="vqa_accuracy", dataset="val", dataset_dir=tmp_path)
    assert summary["metrics"]["vqa_accuracy"]["score"] == 1.0


# The host's file, matched by order


HOST_ROWS = [
    row(1, question="What is  it?", images=["a.png"]),
    row(2, question="Who <image> drives?", images=["a.png"], answer="bus"),
    row(3, question="What is  it?", answer="train"),
]
HOST_GIVEN = {"metric": "vqa_accuracy", "dataset": "val"}


def test_the_hosts_file_is_matched_by_order(tmp_path: Path) -> None:
    dataset(tmp_path, HOST_ROWS)
    texts = ["cab", "bus\u2028", "ship"]  # U+2028 ends a line for str.splitlines, not in JSON lines
    path = write(tmp_path / "generated_predictions.jsonl", list(map(host_line, HOST_ROWS, texts)))
    summary = score(path, **HOST_GIVEN, dataset_dir=tmp_path)
    assert summary["metrics"]["vqa_accuracy"]["score"] == pytest.approx(1.6 / 3)


def test_a_prompt_that_lacks_the_question_names_its_row(tmp_path: Path) -> None:
    dataset(tmp_path, HOST_ROWS)
    lines = [host_line(reference, "cab") for reference in HOST_ROWS]
    path = write(tmp_path / "generated_predictions.jsonl", [lines[0], lines[2], lines[1]])
    message = refusal(path, **HOST_GIVEN, dataset_dir=tmp_path)
    assert (
        "generated_predictions.jsonl, row 2, field `prompt`: it does not contain the question 'Who <image> drives?'"
        in message
    )
    assert "val.json, row 2" in message
    assert "val_size" in message


def test_rows_of_one_question_are_told_apart_by_their_labels(tmp_path: Path) -> None:
    dataset(tmp_path, [HOST_ROWS[0], HOST_ROWS[2]])
    lines = [host_line(reference, "cab") for reference in (HOST_ROWS[2], HOST_ROWS[0])]
    path = write(tmp_path / "generated_predictions.jsonl", lines)
    message = refusal(path, **HOST_GIVEN, dataset_dir=tmp_path)
    assert "row 1, field `label`: got 'train\\n', which is not that of" in message


def test_another_number_of_rows_is_refused_and_max_samples_mends_it(tmp_path: Path) -> None:
    dataset(tmp_path, HOST_ROWS)
    path = write(tmp_path / "generated_predictions.jsonl", [host_line(HOST_ROWS[0], "cab")])
    assert "1 predictions, 3 rows in the dataset" in refusal(path, **HOST_GIVEN, dataset_dir=tmp_path)
    assert score(path, **HOST_GIVEN, dataset_dir=tmp_path, max_samples=1)["questions"] == 1


def test_the_hosts_file_needs_its_dataset_of_one_target(tmp_path: Path) -> None:
    path = write(tmp_path / "generated_predictions.jsonl", [host_line(HOST_ROWS[0], "cab")])
    assert "dataset: got None, expected the dataset that was predicted" in refusal(path, metric="vqa_accuracy")
    dataset(tmp_path, HOST_ROWS, target="multitask")
    assert "multitask" in refusal(path, **HOST_GIVEN, dataset_dir=tmp_path)


def test_predicted_reasoning_needs_a_pattern_to_be_an_answer(tmp_path: Path) -> None:
    rows = [row(1, cot=["It is yellow.", "So it is a cab."])]
    dataset(tmp_path, rows, target="cot")
    label = "It is yellow.\nSo it is a cab.\n"
    path = write(
        tmp_path / "generated_predictions.jsonl", [host_line(rows[0], "Yellow. So it is a cab.", label=label)]
    )
    message = refusal(path, **HOST_GIVEN, dataset_dir=tmp_path)
    assert "val.json, row 1: target cot" in message
    summary = score(path, **HOST_GIVEN, dataset_dir=tmp_path, answer_pattern="So it is a (.*)[.]")
    assert summary["metrics"]["vqa_accuracy"]["score"] == 1.0


# Bad rows, bad keys


def test_bad_rows_are_named_all_at_once(tmp_path: Path) -> None:
    rows = [
        row(1, prediction="cab") | {"answers": "cab"},
        row(2, prediction="cab"),
        row(3, prediction="cab") | {"answers": []},
        row(4, prediction="cab", difficult_direct_answer="no"),
    ]
    message = refusal(write(tmp_path / "p.json", rows), metric="vqa_accuracy,aokvqa_direct")
    assert "p.json, row 1, metric vqa_accuracy: answers: got 'cab', expected a list of texts" in message
    assert "p.json, row 3, metric aokvqa_direct: got nothing in `answers`" in message
    assert "p.json, row 4, metric aokvqa_direct: difficult_direct_answer: got 'no'" in message
    assert "row 2" not in message


def test_a_prediction_that_is_no_text_and_a_row_that_is_no_object_are_named(tmp_path: Path) -> None:
    message = refusal(
        write(tmp_path / "p.json", [row(1, prediction=4), "cab", row(2, prediction="cab")]), metric="vqa_accuracy"
    )
    assert "p.json, row 1, field `prediction`: got 4, expected text" in message
    assert "p.json, row 2" in message and "expected an object with the fields of a row" in message


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [row(1, prediction="cab")])
    path.write_text(path.read_text() + "\n{oops\n")
    assert "line 3" in refusal(path, metric="vqa_accuracy")


def test_unknown_fields_columns_and_datasets_name_the_nearest(tmp_path: Path) -> None:
    dataset(tmp_path, [row(1)])
    path = write(tmp_path / "p.json", [row(1, prediction="cab")])
    assert "`prediction`" in refusal(path, metric="vqa_accuracy", prediction_field="predictions")
    assert "The nearest is `question`" in refusal(path, metric="vqa_accuracy", group_by="questoin")
    assert "group_by needs a column of single values" in refusal(path, metric="vqa_accuracy", group_by="answers")
    assert "The nearest is `val`" in refusal(path, metric="vqa_accuracy", dataset="vall", dataset_dir=tmp_path)
    assert "expected one of val" in refusal(path, metric="vqa_accuracy", dataset="vall", dataset_dir=tmp_path)
    assert "dataset_info.json" in refusal(path, metric="vqa_accuracy", dataset="val", dataset_dir=tmp_path / "no")


def test_all_problems_are_told_at_once_with_the_nearest_key() -> None:
    given = {
        "metric": ["vqa_acuracy", "aokvqa_direct"],
        "predictons": "p.json",
        "answer_pattern": "(a)(b)",
        "max_samples": 0,
        "missing": "drop",
        "output": "numbers.csv",
        "group_by": 3,
    }
    with pytest.raises(ConfigError) as error:
        build_arguments(given)
    keys = [problem.key for problem in error.value.problems]
    assert sorted(keys) == sorted([*given, "predictions"])
    assert "The nearest key is `predictions`" in str(error.value)
    assert "The nearest metric is `vqa_accuracy`" in str(error.value)
    assert "expected one group, not 2" in str(error.value)


@pytest.mark.parametrize("pattern", [r"\{(.*)\}", "(?i)answer: (.+)", "<answer>([^<]*)</answer>", "([0-9]+)"])
def test_a_pattern_on_the_command_line_is_text_to_the_last_character(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "x.yaml").write_text(
        "metric: [vqa_accuracy, aokvqa_direct]\npredictions: p.json\nanswer_pattern: (.*)\n"
    )
    settings = read_settings([str(tmp_path / "x.yaml"), f"answer_pattern={pattern}", "missing=zero"])
    arguments = build_arguments(settings)
    assert arguments.answer_pattern == pattern
    assert arguments.metrics == ("vqa_accuracy", "aokvqa_direct")
    assert arguments.missing == "zero"


def test_words_that_are_no_settings_and_files_that_are_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got '--metric', expected key=value"):
        read_settings([str(tmp_path / "none.yaml"), "--metric"])
    path = write(tmp_path / "p.json", [])
    assert "at least one row" in refusal(path, metric="vqa_accuracy")
    path.unlink()
    assert "p.json" in refusal(path, metric="vqa_accuracy")


# The plan


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_has_its_parts_a_line_of_help_and_a_line_in_the_docs(name: str) -> None:
    metric = get_metric(name)
    for part in ("SUMMARY", "SOURCE", "FIELDS", "dropped", "score"):
        assert hasattr(metric, part), f"evaluation/metrics/{name}.py lacks `{part}`"
    assert f"  {name}: " in help_text()
    assert f"`{name}`" in (ROOT / "docs" / "score.md").read_text(encoding="utf-8")


def test_every_key_has_help_and_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "score.md").read_text(encoding="utf-8")
    for entry in dataclasses.fields(ScoreArguments):
        assert len(entry.metadata["help"]) > 10
        assert f"  {entry.name}: " in help_text()
        assert f"`{entry.name}`" in page, f"docs/score.md does not explain `{entry.name}`"


@pytest.mark.parametrize("folder", ["hind/okvqa", "hind/aokvqa", "toyworld"])
def test_the_yaml_files_are_accepted(folder: str) -> None:
    path = ROOT / "yaml_configs" / folder / "7_score.yaml"
    arguments = build_arguments(read_settings([str(path)]))
    assert build_arguments(yaml.safe_load(path.read_text())) == arguments


def test_scores_are_computed_without_the_host_and_without_torch(run_python) -> None:
    code = (
        "import sys; from llamafactory_hind.evaluation.score import run_score; run_score(['--help']);"
        "assert not {'torch', 'transformers', 'datasets', 'llamafactory'} & set(sys.modules)"
    )
    finished = run_python("-c", code)
    assert finished.returncode == 0, finished.stderr
    assert "usage: llamafactory-cli score" in finished.stdout


@pytest.mark.slow
def test_through_the_real_command_line(tmp_path: Path, host_cli) -> None:
    """The host's own command, a YAML with a word behind it, and its numbers; then a wrong key ends with an error."""
    rows = [row(number, prediction=text) for number, text in enumerate(["cab", "bus", "ship"])]
    path = write(tmp_path / "p.json", rows)
    (tmp_path / "x.yaml").write_text(f"metric: vqa_accuracy\npredictions: {path}\n")
    finished = host_cli("score", str(tmp_path / "x.yaml"), f"output={tmp_path / 'out' / 'numbers.json'}")
    assert finished.returncode == 0, finished.stderr
    assert "53.33" in finished.stdout
    summary = json.loads((tmp_path / "out" / "numbers.json").read_text())
    mean = sum(vqa_accuracy(entry["prediction"], entry["answers"]) for entry in rows) / 3
    assert summary["metrics"]["vqa_accuracy"]["score"] == pytest.approx(mean, abs=1e-12)
    assert len((tmp_path / "out" / "numbers.questions.jsonl").read_text().splitlines()) == 3
