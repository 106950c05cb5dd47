"""`importers nextqa | nextgqa | intentqa | star`: files of exactly the released form to `video_reasoning` rows, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.evaluation import choice_accuracy
from llamafactory_hind.formats import get_rows
from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.rewards import get_reward


HEADER = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
NEXTQA = [
    '4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,strum the string,"hit, with sticks",pat with hand',
    "4010069381,369,640,480,why did the man look down,1,7,TP,rest,read,sleep,007,1e5",
]
STAR = {
    "question_id": "Interaction_T1_13",
    "question": "Which object was tidied up by the person?",
    "video_id": "6H78U",
    "start": 11.1,
    "end": 19.6,
    "answer": "The clothes.",
    "question_program": [{"function": "Situations", "value_input": []}],
    "choices": [
        {"choice_id": number, "choice": text, "choice_program": []}
        for number, text in enumerate(["The closet/cabinet.", "The blanket.", "The clothes.", "The table."])
    ],
    "situations": {"000198": {"actions": ["a004"], "bbox_labels": ["o019"]}},
}


class Release:
    """Released files in a folder with empty videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("0101/4010069381.mp4", "4010069381.mp4", "6H78U.mp4"):
            (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "videos" / name).write_bytes(b"")

    def write(self, name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8-sig")  # as spreadsheets save
        return str(self.folder / name)

    def run(self, family: str, *words: str) -> list[dict[str, Any]]:
        out = self.folder / "out.json"
        main(
            [
                family,
                *words,
                "--videos",
                str(self.folder / "videos"),
                "--out",
                str(out),
                "--dataset-dir",
                str(self.folder),
            ]
        )
        info = json.loads((self.folder / "dataset_info.json").read_text())
        assert info["out"]["formatting"] == "video_reasoning"
        return json.loads(out.read_text())

    def refusal(self, capsys: pytest.CaptureFixture[str], family: str, *words: str) -> str:
        with pytest.raises(SystemExit):
            self.run(family, *words)
        assert not (self.folder / "out.json").exists()
        return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_nextqa_as_released(release: Release) -> None:
    file = release.write("val.csv", "\n".join([HEADER, *NEXTQA]))
    places = release.write("map_vid_vidorID.json", {"4010069381": "0101/4010069381"})
    rows = release.run("nextqa", "--file", file, "--map", places)
    assert rows[0] == {
        "id": "nextqa-4010069381_6",
        "videos": ["0101/4010069381.mp4"],
        "question": "how do the two man play the instrument",
        "choices": ["roll the handle", "tap their feet", "strum the string", "hit, with sticks", "pat with hand"],
        "answer": 0,
        "type": "CH",
        "qid": "4010069381_6",
    }
    assert rows[1]["choices"][3:] == ["007", "1e5"]  # texts stay as they were written
    for row in rows:
        assert not list(get_rows("video_reasoning").question_problems(row))
    predictions = [row["answer"] for row in rows]
    found = choice_accuracy(predictions, predictions, [row["type"] for row in rows])
    assert set(found.values()) <= {1.0, 100.0, 2}


def test_flat_videos_without_a_map(release: Release) -> None:
    file = release.write("val.csv", "\n".join([HEADER, *NEXTQA]))
    assert release.run("nextqa", "--file", file)[0]["videos"] == ["4010069381.mp4"]


GQA_HEADER = HEADER.replace("video,", "video_id,")
GQA = "4010069381,369,640,480,how do the two man play,strum the string,6,CH,roll,tap,strum the string,hit,pat"
SPANS = {"4010069381": {"duration": 12, "location": {"6": [[1.2, 5.8], [8, 12.5]], "9": [[0, 1]]}, "fps": 29.97}}


def test_nextgqa_has_gold_spans_that_rewards_and_metrics_take(release: Release) -> None:
    file = release.write("val.csv", "\n".join([GQA_HEADER, GQA]))
    (row,) = release.run("nextgqa", "--file", file, "--spans", release.write("gsub_val.json", SPANS))
    assert (row["id"], row["answer"], row["type"]) == ("nextgqa-4010069381_6", 2, "CH")
    assert (row["spans"], row["duration"]) == ([[1.2, 5.8], [8, 12.5]], 12)
    assert not list(get_rows("video_reasoning").question_problems(row))
    # covered 9.1 s together; [1.2, 5.8] alone shares 4.6 s of them
    columns = {"spans": [row["spans"]], "clip_start": [None]}
    (reward,) = get_reward("temporal_iou")(["from 1.2 to 5.8 seconds"], **columns)
    assert reward == pytest.approx(4.6 / 9.1)


def test_nextgqa_without_spans_is_its_train_split(release: Release) -> None:
    (row,) = release.run("nextgqa", "--file", release.write("train.csv", "\n".join([GQA_HEADER, GQA])))
    assert "spans" not in row


def test_the_text_of_two_options_stays_a_text(release: Release) -> None:
    """As once in the released test.csv."""
    line = GQA.replace("roll,tap", "strum the string,tap")
    (row,) = release.run("nextgqa", "--file", release.write("test.csv", "\n".join([GQA_HEADER, line])))
    assert row["answer"] == "strum the string"
    assert not list(get_rows("video_reasoning").question_problems(row))


@pytest.mark.parametrize(
    ("line", "spans", "says"),
    [
        (GQA.replace("strum the string,6", "2,6"), SPANS, "field `answer`: got '2', expected the text of one of"),
        (GQA.replace(",6,CH", ",7,CH"), SPANS, "`location`, field `7`: got nothing"),
        (GQA.replace("4010069381", "77"), SPANS, "gsub.json, field `77`: got nothing"),
        (GQA, {"4010069381": {"location": {"6": [[5, 1]]}}}, "field `location[6]`: got [[5, 1]]"),
        (GQA, {"4010069381": {"location": {"6": [["1", 5]]}}}, "field `location[6]`"),
    ],
)
def test_spans_of_nextgqa_that_are_wrong_are_named(
    release: Release, capsys: pytest.CaptureFixture[str], line: str, spans: Any, says: str
) -> None:
    file = release.write("val.csv", "\n".join([GQA_HEADER, line]))
    message = release.refusal(capsys, "nextgqa", "--file", file, "--spans", release.write("gsub.json", spans))
    assert says in message


def test_intentqa_keeps_its_columns(release: Release) -> None:
    header = HEADER.replace("video,", "video_id,") + ",action,lemma,lemma_id"
    file = release.write("val.csv", "\n".join([header, NEXTQA[0] + ",roll,roll,12"]))
    (row,) = release.run("intentqa", "--file", file)
    assert (row["id"], row["action"], row["lemma_id"], row["answer"]) == ("intentqa-4010069381_6", "roll", "12", 0)


def test_star_as_released(release: Release) -> None:
    (row,) = release.run("star", "--file", release.write("STAR_val.json", [STAR]))
    assert (row["start"], row["end"], row["answer"], row["type"], row["template"]) == (
        11.1,
        19.6,
        2,
        "Interaction",
        "T1",
    )
    assert "situations" not in row
    assert not list(get_rows("video_reasoning").question_problems(row))


def test_star_without_answers_is_its_test_split(release: Release) -> None:
    record = {key: value for key, value in STAR.items() if key != "answer"}
    assert release.run("star", "--file", release.write("STAR_test.json", [record]))[0]["answer"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": "A dog."}, "field `answer`: got 'A dog.', expected the text of exactly one of the options"),
        ({"start": "11"}, "field `start`: got '11', expected seconds"),
        ({"end": None}, "field `end`: got nothing, expected seconds"),
        ({"choices": []}, "field `choices`"),
        ({"question": 3}, "field `question`: got 3, expected non-empty text"),
    ],
)
def test_a_question_of_star_that_is_wrong_is_named(
    release: Release, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    file = release.write("STAR_val.json", [STAR, {**STAR, "question_id": "Interaction_T1_14", **change}])
    message = release.refusal(capsys, "star", "--file", file)
    assert says in message
    assert "entry 1" in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (NEXTQA[1].replace(",1,7,", ",5,7,"), "field `answer`: got '5', expected the number of an option, 0 to 4"),
        (NEXTQA[1].replace(",1,7,", ",,7,"), "field `answer`: got nothing"),
        (NEXTQA[1].replace("1e5", ""), "field `a4`: got nothing"),
        (NEXTQA[0], "field `qid`"),
    ],
)
def test_a_row_of_nextqa_that_is_wrong_is_named(
    release: Release, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    message = release.refusal(capsys, "nextqa", "--file", release.write("v.csv", "\n".join([HEADER, NEXTQA[0], line])))
    assert says in message
    assert "row 2" in message


def test_missing_videos_stop_or_are_left_out(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    other = NEXTQA[1].replace("4010069381", "99")
    file = release.write("val.csv", "\n".join([HEADER, NEXTQA[0], other]))
    message = release.refusal(capsys, "nextqa", "--file", file)
    assert "The videos of 1 of 2 questions are missing" in message
    assert "--missing skip" in message
    assert len(release.run("nextqa", "--file", file, "--missing", "skip")) == 1


def test_a_missing_file_is_one_message(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.csv" in release.refusal(capsys, "nextqa", "--file", str(release.folder / "none.csv"))
