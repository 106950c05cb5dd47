"""The metrics for regions and videos through `score`: rows in, numbers, parts, remarks and errors out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.evaluation.metrics import get_metric, metric_names
from llamafactory_hind.evaluation.score import run_score


def score(folder: Path, rows: list[dict[str, Any]], metric: str, **settings: Any) -> dict[str, Any]:
    """Score rows that carry their references and return the numbers of the metric."""
    path = folder / "p.jsonl"
    numbered = [{"id": str(number), **row} for number, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in numbered), encoding="utf-8")
    run_score([f"metric={metric}", f"predictions={path}", *(f"{key}={value}" for key, value in settings.items())])
    return json.loads((folder / "p.score.json").read_text())["metrics"]


def refusal(folder: Path, rows: list[dict[str, Any]], metric: str, **settings: Any) -> str:
    """Return what the command says when it stops; it has written nothing."""
    with pytest.raises(SystemExit) as stopped:
        score(folder, rows, metric, **settings)
    assert not list(folder.glob("*.score.*"))
    return str(stopped.value)


def questions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "p.score.questions.jsonl").read_text().splitlines()]


def scores_of(parts: dict[str, Any]) -> dict[str, float]:
    return {name: part["score"] for name, part in parts.items()}


# VCR


VCR_ROW = {"answer_label": 1, "rationale_label": 0, "answer_scores": [0, 3, 1, 2], "rationale_scores": [4, 3, 1, 2]}


def test_vcr_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Both right; answer alone; a tie, which the first choice wins. Q->A 2/3, QA->R 1/3, Q->AR 1/3."""
    rows = [VCR_ROW, VCR_ROW | {"rationale_label": 2}, VCR_ROW | {"answer_scores": [3, 3, 1, 2], "rationale_label": 3}]
    found = score(tmp_path, rows, "vcr")["vcr"]
    assert found["score"] == pytest.approx(1 / 3)
    assert scores_of(found["parts"]) == pytest.approx({"q2a": 2 / 3, "qa2r": 1 / 3})
    assert found["parts"]["q2a"]["questions"] == 3
    assert found["parts"]["q2a"]["interval"] == [pytest.approx(2 / 3 - 1.96 / 3), 1.0]  # s = sqrt(1/3), over sqrt(3)
    assert found["remarks"] == {"equal best scores, the first choice wins": 1}
    shown = capsys.readouterr().out
    assert "q2a" in shown
    assert "66.67" in shown
    first = questions(tmp_path)[1]
    assert first["references"] == {"answer_label": 1, "rationale_label": 2}
    assert first["predicted"] == {"answer_scores": [0, 3, 1, 2], "rationale_scores": [4, 3, 1, 2]}
    assert first["parts"] == {"vcr": {"q2a": 1.0, "qa2r": 0.0}}


def test_vcr_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    rows = [
        VCR_ROW,
        VCR_ROW | {"answer_scores": [1, 2]},
        VCR_ROW | {"rationale_label": 4},
        VCR_ROW | {"answer_label": None},
    ]
    rows.append(VCR_ROW | {"rationale_scores": [1, 2, "3", 4]})
    message = refusal(tmp_path, rows, "vcr")
    assert "row 2, metric vcr: answer_scores: got [1, 2], expected a list of 4 numbers, one for each choice" in message
    assert "row 3, metric vcr: rationale_label: got 4, expected a whole number from 0 to 3" in message
    assert "row 4, metric vcr: got nothing in `answer_label`" in message
    assert "row 5, metric vcr: rationale_scores: got [1, 2, '3', 4]" in message
    assert "row 1," not in message
    lacking = refusal(tmp_path, [{"answer_label": 0, "rationale_label": 0, "scores": [1, 2, 3, 4]}], "vcr")
    assert "expected rows with a field `answer_scores`. Rows have answer_label, id, rationale_label, scores" in lacking
    assert "`rationale_scores`" in lacking


def test_a_missing_score_is_a_missing_prediction_in_every_part(tmp_path: Path) -> None:
    rows = [VCR_ROW, VCR_ROW | {"rationale_scores": None}]
    assert "1 of 2 questions have no prediction" in refusal(tmp_path, rows, "vcr")
    found = score(tmp_path, rows, "vcr", missing="zero")["vcr"]
    assert (found["score"], found["missing"]) == (0.5, 1)
    assert scores_of(found["parts"]) == {"q2a": 0.5, "qa2r": 0.5}
    skipped = score(tmp_path, rows, "vcr", missing="skip")["vcr"]
    assert (skipped["score"], skipped["parts"]["q2a"]["questions"]) == (1.0, 1)


def test_scores_are_joined_with_a_dataset_by_id(tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": "Why?", "answer": "x", "answer_label": n, "rationale_label": 0} for n in (1, 2)]
    (tmp_path / "val.json").write_text(json.dumps(rows))
    info = {"val": {"file_name": "val.json", "formatting": "hindsight"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    found = {key: VCR_ROW[key] for key in ("answer_scores", "rationale_scores")}
    predictions = [{"id": "2", **found}, {"id": "1", **found}]
    numbers = score(tmp_path, predictions, "vcr", dataset="val", dataset_dir=tmp_path)["vcr"]
    assert (numbers["score"], numbers["questions"]) == (0.5, 2)


# Sherlock


def test_sherlock_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """First: the raters give 1 and 2 (2/3 - 1/2) = 1/3, mean 2/3. Second: -1 and 0 (none told apart), mean -1/2. Mean 1/12.

    The file of annotations writes some ratings as text. Deviation 7/12 about the mean: s = 7 sqrt(2) / 12, half = 1.96 * 7/12: the
    interval ends at -1 and 1, the range of this score.
    """
    rows = [
        {"ratings": [["1", "2", "3"], [1, 3, 2]], "scores": [-3.0, -2.0, -1.0]},
        {"ratings": [[3, 2, 1], [2, 2, 2]], "scores": [-3.0, -2.0, -1.0]},
    ]
    found = score(tmp_path, rows, "sherlock_comparison")["sherlock_comparison"]
    assert found["score"] == pytest.approx(1 / 12)
    half = 1.96 * 7 / 12
    assert found["interval"] == [-1.0, 1.0] == [max(-1, 1 / 12 - half), min(1, 1 / 12 + half)]
    assert found["remarks"] == {"a rater gave all candidates the same rating, scored 0": 1}
    assert "8.33" in capsys.readouterr().out


def test_sherlock_tells_of_ties_and_refuses_rows_that_do_not_fit(tmp_path: Path) -> None:
    tied = [{"ratings": [[1, 2], [2, 1]], "scores": [0, 0]}]
    found = score(tmp_path, tied, "sherlock_comparison")["sherlock_comparison"]
    assert (found["score"], found["remarks"]) == (0.0, {"equal scores, ordered by the official noise": 1})
    for written in tmp_path.glob("*.score.*"):
        written.unlink()
    bad = [
        {"ratings": [[1, 2], [1]], "scores": [0, 1]},
        {"ratings": [[1, 2]], "scores": [0]},
        {"ratings": "ab", "scores": [0]},
    ]
    bad.append({"ratings": [list(range(11))], "scores": list(range(11))})
    message = refusal(tmp_path, bad, "sherlock_comparison")
    assert "row 1, metric sherlock_comparison: ratings: got [[1, 2], [1]], expected a list for each rater" in message
    assert "row 2, metric sherlock_comparison: scores: got [0], expected a list of 2 numbers" in message
    assert "row 3, metric sherlock_comparison: ratings: got 'ab'" in message
    assert "row 4, metric sherlock_comparison: ratings:" in message


# VisualCOMET


def test_acc_at_50_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of two gold sentences one is among the best two, and the best is none: 1/2, top-1 0. Then one gold, ranked first."""
    many = [f"sentence {number}" for number in range(50)]
    rows = [
        {"choices": many, "num_gold": 2, "scores": [-2.0, -9.0, -1.0, *[-5.0] * 47]},
        {"choices": many[:3], "num_gold": 1, "scores": [-1.0, -2.0, -3.0]},
        {"choices": many[:2], "num_gold": 1, "scores": [-1.0, -1.0]},
    ]
    found = score(tmp_path, rows, "acc_at_50")["acc_at_50"]
    assert found["score"] == pytest.approx(2.5 / 3)
    assert found["parts"]["top_1"]["score"] == pytest.approx(2 / 3)
    ties = "equal scores decide; gold wins them, as in the official code"
    assert found["remarks"] == {"not 50 candidates": 1, ties: 1}
    assert ties in capsys.readouterr().err


def test_acc_at_50_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    row = {"choices": ["a", "b"], "num_gold": 1, "scores": [1, 2]}
    bad = [row | {"num_gold": 3}, row | {"num_gold": "1"}, row | {"scores": [1]}, row | {"scores": [1, math.nan]}]
    message = refusal(tmp_path, bad, "acc_at_50")
    assert "row 1, metric acc_at_50: num_gold: got 3, expected a whole number from 1 to 2" in message
    assert "row 2, metric acc_at_50: num_gold: got '1'" in message
    assert "row 3, metric acc_at_50: scores: got [1], expected a list of 2 numbers" in message
    assert "row 4, metric acc_at_50: scores: got [1, nan]" in message


# Choices


OPTIONS = ["the cat", "a dog", "play"]


def test_choice_accuracy_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """CW 1/2, TN (with TP) 2/2, DO 0/1. C 1/2, T 1, D 0. Mean over the types 1/2, overall 3/5.

    The mean's error needs two questions of a type: none for DO.
    """
    said = [("CW", "B"), ("CW", "the cat"), ("TN", "(B) a dog"), ("TP", "答案是B"), ("DO", "no idea")]
    rows = [{"choices": OPTIONS, "answer": "a dog", "type": kind, "prediction": text} for kind, text in said]
    found = score(tmp_path, rows, "choice_accuracy")["choice_accuracy"]
    assert found["score"] == 0.6
    expected = {"CW": 0.5, "TN": 1.0, "DO": 0.0, "all C": 0.5, "all T": 1.0, "all D": 0.0}
    assert scores_of(found["parts"]) == expected
    assert list(found["parts"]) == list(expected)
    assert found["mean_of_parts"] == {
        "score": 0.5,
        "groups": 3,
        "questions": 5,
        "standard_error": None,
        "interval": None,
    }
    assert found["remarks"] == {"no option could be read, scored wrong": 1}
    shown = capsys.readouterr()
    assert "mean: 3 parts" in shown.out
    assert "1 of 5 questions: no option could be read, scored wrong" in shown.err


def test_the_mean_over_stars_types_has_an_interval(tmp_path: Path) -> None:
    """Interaction 1 of 2, Sequence 3 of 4: mean 5/8; variances 1/2 and 1/4: sqrt(1/4 + 1/16) / 2."""
    said = [("Interaction", 1), ("Interaction", 0), *[("Sequence", 1)] * 3, ("Sequence", 0)]
    rows = [
        {"choices": OPTIONS, "answer": 1, "type": kind, "prediction": "B" if right else "A"} for kind, right in said
    ]
    mean = score(tmp_path, rows, "choice_accuracy")["choice_accuracy"]["mean_of_parts"]
    assert (mean["score"], mean["groups"]) == (0.625, 2)
    assert mean["standard_error"] == pytest.approx(math.sqrt(5 / 16) / 2)


def test_choices_agree_with_the_function(tmp_path: Path) -> None:
    from llamafactory_hind.evaluation import choice_accuracy

    kinds = ["CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO"] * 4
    answers, chosen = [n % 3 for n in range(32)], [n * n % 3 for n in range(32)]
    rows = [
        {"choices": OPTIONS, "answer": answer, "type": kind, "prediction": "ABC"[choice]}
        for answer, kind, choice in zip(answers, kinds, chosen, strict=True)
    ]
    found = score(tmp_path, rows, "choice_accuracy")["choice_accuracy"]
    expected = choice_accuracy(chosen, answers, kinds)
    assert found["score"] == pytest.approx(expected["overall"])
    assert found["mean_of_parts"]["score"] == pytest.approx(expected["mean"])
    parts = {name.removeprefix("all "): value for name, value in scores_of(found["parts"]).items()}
    assert parts == pytest.approx({name: value for name, value in expected.items() if name not in ("mean", "overall")})


def test_choices_without_types_numbers_exact_and_missing(tmp_path: Path) -> None:
    rows = [{"choices": OPTIONS, "answer": "C", "prediction": text} for text in ("2", "play", "Play.", "C.")]
    assert score(tmp_path, rows, "choice_accuracy")["choice_accuracy"]["score"] == 1.0
    assert "parts" not in score(tmp_path, rows, "choice_accuracy")["choice_accuracy"]
    assert score(tmp_path, rows, "choice_accuracy", first_number=1)["choice_accuracy"]["score"] == 0.75
    assert score(tmp_path, rows, "choice_accuracy", choice_matching="exact")["choice_accuracy"]["score"] == 0.5
    typed = [row | {"type": "CW"} for row in rows] + [
        {"choices": OPTIONS, "answer": "C", "type": "CW", "prediction": None}
    ]
    found = score(tmp_path, typed, "choice_accuracy", missing="zero")["choice_accuracy"]
    assert scores_of(found["parts"]) == {"CW": 0.8, "all C": 0.8}
    cut = score(tmp_path, typed[:4], "choice_accuracy", answer_pattern=r"(C)\.")["choice_accuracy"]
    assert scores_of(cut["parts"]) == {"CW": 0.25, "all C": 0.25}


def test_choice_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    row = {"choices": OPTIONS, "answer": "play", "prediction": "C"}
    message = refusal(
        tmp_path, [row | {"answer": "a fish"}, row | {"type": 3}, row | {"choices": "ab"}], "choice_accuracy"
    )
    assert (
        "row 1, metric choice_accuracy: answer: got 'a fish', expected one of ['the cat', 'a dog', 'play']" in message
    )
    assert "row 2, metric choice_accuracy: type: got 3, expected text" in message
    assert "row 3, metric choice_accuracy: choices: got 'ab'" in message


# Boxes, spans, triples


def test_box_iou_by_hand(tmp_path: Path) -> None:
    """IoU 1/2 counts, 1/3 does not; one of two gold boxes found: 1/2 and 1/2 of 1; no box: 0."""
    rows = [
        {"box": [0, 0, 10, 10], "prediction": "[0, 0, 10, 5]"},
        {"boxes": [0, 0, 10, 10], "prediction": "<answer>(5,0),(15,10)</answer>"},
        {"boxes": [[0, 0, 10, 10], [20, 20, 30, 30]], "prediction": "[0, 0, 10, 10]"},
        {"box": [0, 0, 10, 10], "prediction": "left"},
    ]
    found = score(tmp_path, rows, "box_iou")["box_iou"]
    assert [row["scores"]["box_iou"] for row in questions(tmp_path)] == [1.0, 0.0, 0.5, 0.0]
    assert found["parts"]["mean_iou"]["score"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found["remarks"] == {"no box could be read, scored 0": 1}


def test_gold_boxes_of_the_label_need_no_convention(tmp_path: Path) -> None:
    """A model's grid of 1000 over 50 x 100 pixels: IoU is 1/2 in both; the dataset's pixels beside the model's numbers give 0."""
    row = {"box": [0, 0, 10, 10], "label": "[0, 0, 200, 100]", "prediction": "[0, 0, 100, 100]"}
    assert score(tmp_path, [row], "box_iou")["box_iou"]["parts"]["mean_iou"]["score"] == pytest.approx(0.01)
    found = score(tmp_path, [row], "box_iou", box_gold="label")["box_iou"]
    assert (found["score"], found["parts"]["mean_iou"]["score"]) == (1.0, 0.5)
    for path in tmp_path.glob("*.score.*"):
        path.unlink()
    says = "label: got 'left', expected a text with a box"
    assert says in refusal(tmp_path, [row | {"label": "left"}], "box_iou", box_gold="label")


def test_box_iou_agrees_with_the_reward(tmp_path: Path) -> None:
    from llamafactory_hind.rewards import get_reward

    texts = ["[0, 0, 9, 10] [1, 1, 2, 2]", "(0, 0, 30, 30)", "none", "[3, 3, 1, 1]"]
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30]]
    score(tmp_path, [{"boxes": boxes, "prediction": text} for text in texts], "box_iou")
    means = [row["parts"]["box_iou"]["mean_iou"] for row in questions(tmp_path)]
    assert means == get_reward("box_iou")(texts, boxes=[boxes] * 4)


def test_temporal_iou_by_hand(tmp_path: Path) -> None:
    """2..6 against 4..8 or 1..3: as sets 3 of 7 seconds. NExT-GQA: IoU max(2/6, 1/5), IoP 2/4. Then exact, then none, then reversed."""
    rows = [
        {"spans": [[4, 8], [1, 3]], "prediction": "from 2 to 6 seconds"},
        {"span": [4, 8], "prediction": "<answer>00:04 - 00:08</answer>"},
        {"span": [4, 8], "prediction": "at the end"},
        {"span": [4, 8], "prediction": "[8, 4]"},
    ]
    found = score(tmp_path, rows, "temporal_iou")["temporal_iou"]
    assert found["score"] == pytest.approx((3 / 7 + 1) / 4)
    assert scores_of(found["parts"]) == pytest.approx(
        {
            "iou_0.3": 0.5,
            "iou_0.5": 0.25,
            "iou_0.7": 0.25,
            "nextgqa_iou": (1 / 3 + 1) / 4,
            "nextgqa_iou_0.3": 0.5,
            "nextgqa_iou_0.5": 0.25,
            "nextgqa_iop": (1 / 2 + 1) / 4,
            "nextgqa_iop_0.3": 0.5,
            "nextgqa_iop_0.5": 0.5,
        }
    )
    assert found["remarks"] == {
        "no span could be read, scored 0": 1,
        "a span ends before it starts and counts as empty": 1,
    }


def test_trance_by_hand(tmp_path: Path) -> None:
    """Gold a(0, x), b(1, y). Exact: 1. The same thrice: 1/2 of one pair, no fine. a(0, z), b(2, y): 1/2 (0.5 + 0.5). c: 0. none: 0."""
    gold = "a(0, x), b(1, y)"
    texts = ["b(1, 'y'), a(0, x)", "a(0, x) a(0, x) a(0, x)", "a(0, z), b(2, y)", "c(0, x)", "nothing"]
    rows = [{"answer": f"<answer>{gold}</answer>", "prediction": f"<answer>\n{text}\n</answer>"} for text in texts]
    rows.append({"solution": gold, "prediction": "b(3, z)"})  # the function alone: 1/2 of 0.25
    found = score(tmp_path, rows, "trance")["trance"]
    assert [row["scores"]["trance"] for row in questions(tmp_path)] == [1.0, 0.5, 0.5, 0.0, 0.0, 0.125]
    assert found["parts"]["exact"]["score"] == pytest.approx(1 / 6)
    assert found["remarks"] == {"no triple could be read, scored 0": 1}


def test_the_reward_trance_fines_repetition_and_the_metric_does_not() -> None:
    """Reason-RFT's reward multiplies by the share of different triples, 1/3 here; its evaluation does not."""
    from llamafactory_hind.rewards import get_reward

    text, metric = "a(0, x) a(0, x) a(0, x)", get_metric("trance")
    assert get_reward("trance")([text], answer=["a(0, x)"]) == pytest.approx([1 / 3])
    assert metric.score(text, {"answer": "a(0, x)"}, None).score == 1.0


def test_gold_that_does_not_fit_is_named(tmp_path: Path) -> None:
    assert "row 1, metric box_iou: box: got [1, 2, 3]" in refusal(
        tmp_path, [{"box": [1, 2, 3], "prediction": "x"}], "box_iou"
    )
    assert "metric temporal_iou: spans: got [3, 1]" in refusal(
        tmp_path, [{"spans": [3, 1], "prediction": "x"}], "temporal_iou"
    )
    assert "metric trance: answer: got 'x'" in refusal(tmp_path, [{"answer": "x", "prediction": "x"}], "trance")
    nothing = refusal(tmp_path, [{"prediction": "x"}], "box_iou,temporal_iou,trance")
    assert "got nothing in `box or boxes`" in nothing
    assert "got nothing in `span or spans`" in nothing


def test_texts_and_scores_are_scored_beside_each_other(tmp_path: Path) -> None:
    row = {"choices": ["a cat", "a dog"], "answer": 0, "num_gold": 1, "prediction": "A", "scores": [1.0, 2.0]}
    found = score(tmp_path, [row], "choice_accuracy,acc_at_50")
    assert (found["choice_accuracy"]["score"], found["acc_at_50"]["score"]) == (1.0, 0.0)
    lacking = {key: value for key, value in row.items() if key != "prediction"}
    for written in tmp_path.glob("*.score.*"):
        written.unlink()
    assert "prediction_field" in refusal(tmp_path, [lacking], "choice_accuracy,acc_at_50")


@pytest.mark.parametrize("name", metric_names())
def test_the_parts_of_a_metric_are_names(name: str) -> None:
    metric = get_metric(name)
    assert all(isinstance(part, str) for part in getattr(metric, "PARTS", ()))
    assert not hasattr(metric, "averaged") or hasattr(metric, "parts")


def official_score(file: Path, kinds: dict[str, str]) -> dict[str, float]:
    """As NExT-QA's script: equal numbers by type, TP as TN; a question without an entry would stop it."""
    found = json.loads(file.read_text())
    hits: dict[str, list[bool]] = {}
    for key, kind in kinds.items():
        hits.setdefault({"TP": "TN"}.get(kind, kind), []).append(found[key]["prediction"] == found[key]["answer"])
    return {kind: sum(right) / len(right) for kind, right in hits.items()}


def test_the_official_file_gives_the_same_score(tmp_path: Path) -> None:
    """Right by letter, wrong, unreadable, missing, and the text of two equal options."""
    choices = ["a cat", "a dog", "a cow", "a hen", "an owl"]
    rows = [
        {"id": "1", "qid": "7_1", "choices": choices, "answer": 4, "type": "CW", "prediction": "E"},
        {"id": "2", "qid": "7_2", "choices": choices, "answer": 0, "type": "CW", "prediction": "a dog"},
        {"id": "3", "qid": "7_3", "choices": choices, "answer": 0, "type": "TP", "prediction": "who knows"},
        {"id": "4", "qid": "8_1", "choices": choices, "answer": 3, "type": "TN", "prediction": None},
        {"id": "5", "qid": "8_2", "choices": ["a", "b", "b"], "answer": "b", "type": "CH", "prediction": "C"},
    ]
    rows = [row | {"question": "What?"} for row in rows]
    file = tmp_path / "official.json"
    found = score(tmp_path, rows, "choice_accuracy", missing="zero", submission=file)["choice_accuracy"]
    assert json.loads(file.read_text())["7_1"] == {"prediction": 4, "answer": 4}
    assert json.loads(file.read_text())["8_1"] == {"prediction": -1, "answer": 3}
    official = official_score(file, {row["qid"]: row["type"] for row in rows})
    assert official == {"CW": 0.5, "TN": 0.0, "CH": 1.0}
    assert {kind: found["parts"][kind]["score"] for kind in official} == official


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qid": None}, "field `qid`: got None, expected `<video>_<qid>`"),
        ({"qid": "7_1"}, "got '7_1', which an earlier question has already"),
        ({"type": "Sequence"}, "a question of STAR"),
    ],
)
def test_no_official_file_without_its_key(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    row = {
        "id": "1",
        "qid": "7_1",
        "choices": ["a", "b"],
        "answer": 0,
        "type": "CW",
        "prediction": "A",
        "question": "?",
    }
    rows = [row, {**row, "id": "2", "qid": "7_2", **change}]
    with pytest.raises(SystemExit) as stopped:
        score(tmp_path, rows, "choice_accuracy", submission=tmp_path / "official.json")
    assert says in str(stopped.value)
    assert not (tmp_path / "official.json").exists()


# NExT-GQA


def test_acc_gqa_needs_the_option_and_the_span(tmp_path: Path) -> None:
    """Gold [2, 6], option dog. IoP: [3, 5] 2/2, [3, 9] 3/6 = 0.5 (counts), [3, 9.1] 3/6.1 < 0.5; [0, 1] 0."""
    gold = {"choices": ["cat", "dog"], "answer": "dog", "span": [2, 6]}
    texts = {
        "(B) dog, from 3 to 5 seconds": (1, 1, 1),
        "(B) dog, from 3 to 9 seconds": (1, 1, 1),
        "(B) dog, from 3 to 9.1 seconds": (0, 1, 0),
        "(A) cat, from 3 to 5 seconds": (0, 0, 1),
        "<answer>B [3, 5]</answer>": (1, 1, 1),
        "(B) dog, from 0 to 1 seconds": (0, 1, 0),
        "(B) dog": (0, 1, 0),
        "from 3 to 5 seconds": (0, 0, 1),
    }
    found = score(tmp_path, [gold | {"prediction": text} for text in texts], "acc_gqa")["acc_gqa"]
    parts = [row["parts"]["acc_gqa"] for row in questions(tmp_path)]
    totals = [row["scores"]["acc_gqa"] for row in questions(tmp_path)]
    got = [(total, part["accuracy"], part["iop_0.5"]) for total, part in zip(totals, parts, strict=True)]
    assert got == [*texts.values()]
    assert found["score"] == pytest.approx(3 / 8)
    assert found["remarks"] == {"no span could be read, scored 0": 1, "no option could be read, scored 0": 1}


def test_acc_gqa_names_a_wrong_gold_span(tmp_path: Path) -> None:
    row = {"choices": ["cat", "dog"], "answer": "dog", "span": [6, 2], "prediction": "B"}
    assert "metric acc_gqa: span: got [6, 2]" in refusal(tmp_path, [row], "acc_gqa")
