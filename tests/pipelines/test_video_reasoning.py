"""`pipeline: video_reasoning` against a real HTTP server whose model we wrote: what is shown, judged, refined, kept and counted."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.formats.media.clips import Clip
from llamafactory_hind.formats.video_reasoning.rows import prompt_of, read_options, tasks_of
from llamafactory_hind.pipelines.runner.rows import Row
from llamafactory_hind.pipelines.runner.run import run_synth
from llamafactory_hind.pipelines.video_reasoning import judge
from shared.openai_server import Behaviour, OpenAIServer
from shared.synth import read_lines, write_dataset
from shared.videos import write_video


CHOICES = ["it is caught by the dog", "it hits a wall", "it melts"]
STEPS = "The ball rolls to the left. A wall is there."
QUESTIONS = {  # question -> what the model writes
    "Why does it stop?": f"{STEPS} So it hits a wall.\nAnswer: B",
    "What comes next?": f"{STEPS}\nAnswer: C",  # wrong
    "Who is it?": "So the answer is (A).",  # nothing is left
    "And then?": f"{STEPS} It goes on and on",  # names no option
}
GOLD = {"Why does it stop?": "B", "What comes next?": "it hits a wall", "Who is it?": 0, "And then?": "B"}
TYPES = ("CW", "TN", "CW", "TN")


def row(**fields: Any) -> Row:
    given = {"question": "Why?", "choices": CHOICES, "answer": "it hits a wall", **fields}
    return Row("r", "file.json", 1, given, {"images": [], "videos": [], "audios": []})


@pytest.mark.parametrize(
    ("text", "reached", "is_correct"),
    [
        (f"{STEPS}\nAnswer: B", 1, True),
        (f"{STEPS} The answer is (C).", 2, False),
        (f"{STEPS} 所以答案是B。", 1, True),
        ("Surely it melts.", 2, False),
        (STEPS, None, False),
        ("<think>Not A.</think><answer>B</answer>", 1, True),
    ],
)
def test_a_text_is_judged_by_the_option_it_reaches(text: str, reached: int | None, is_correct: bool) -> None:
    found = judge(row(), {"text": text, "finish_reason": "stop"})
    assert (found.reached, found.is_correct, found.reason) == (reached, is_correct, None)


def test_an_open_question_is_judged_by_its_last_line() -> None:
    open_row = row(choices=None, answer="a wall")
    assert judge(open_row, {"text": "A ball rolls.\nAnswer: a wall", "finish_reason": "stop"}).is_correct
    assert not judge(open_row, {"text": "A wall is there.\nAnswer: a dog", "finish_reason": "stop"}).is_correct


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"text": STEPS, "finish_reason": "length"}, "cut at max_new_tokens"),
        ({"text": "see <video>", "finish_reason": "stop"}, "media placeholder in the text"),
    ],
)
def test_a_text_of_no_use_is_dropped(sample: dict[str, Any], reason: str) -> None:
    assert judge(row(), sample).reason == reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four questions about three seconds of a clip."""
    write_video(tmp_path / "v.mp4")
    rows = [
        {"id": f"q{number}", "videos": ["v.mp4"], "start": 2.0, "end": 5.0, "question": question}
        | {"choices": CHOICES, "answer": GOLD[question], "type": kind, "level": number}
        for number, (question, kind) in enumerate(zip(QUESTIONS, TYPES, strict=True))
    ]
    write_dataset(tmp_path, rows)
    info = {"d": {"file_name": "d.json", "formatting": "video_reasoning"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


def write(body: dict[str, Any], number: int) -> str:
    asked = json.dumps(body["messages"])
    text = next(text for question, text in QUESTIONS.items() if question in asked)
    if "Copy the reasoning" in asked:
        return "The ball rolls to the left."
    return text


def run(folder: Path, server: OpenAIServer, **more: Any) -> list[dict[str, Any]]:
    given = {
        **{"pipeline": "video_reasoning", "engine": "openai", "model": "test", "base_url": server.url},
        **{"dataset": "d", "dataset_dir": folder, "output": folder / "out" / "o.jsonl", "video_fps": 2.0, **more},
    }
    run_synth([f"{key}={value}" for key, value in given.items()])
    return read_lines(folder / "out" / "o.jsonl")


def test_reasoning_is_written_judged_and_refined(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        rows = run(folder, server)
        calls = server.calls
        first_body = server.bodies[0]
        assert run(folder, server, refine_rules="letter") != rows  # refined anew, and nothing is called
        assert server.calls == calls == 4
    assert [one["reasoning"] for one in rows] == [STEPS, STEPS, "", f"{STEPS} It goes on and on"]
    assert [one["reasoning_correct"] for one in rows] == [True, False, True, False]
    assert [one["reached"] for one in rows] == [1, 2, 0, None]
    assert rows[0]["reasoning_unrefined"] == QUESTIONS["Why does it stop?"]
    assert [(one["rule"], one["sentence"]) for one in rows[0]["deleted"]] == [
        ("text", "So it hits a wall."),
        ("answer", "Answer: B"),
    ]
    assert [one["level"] for one in rows] == [0, 1, 2, 3]
    prompt = first_body["messages"][0]["content"][-1]["text"]
    assert "Choices: (A) it is caught by the dog (B) it hits a wall (C) it melts" in prompt
    assert "correct answer" not in prompt


def test_the_frames_that_were_sent_are_those_that_training_reads(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        (first, *_) = run(folder, server)
        parts = server.bodies[0]["messages"][0]["content"]
    sent = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert first["frames"] == {"indices": [20, 25, 31, 37, 43, 49], "seconds": [2.0, 2.5, 3.1, 3.7, 4.3, 4.9]}
    name = f"{folder / 'v.mp4'}#t=2,5&n={','.join(map(str, first['frames']['indices']))}"
    clip = Clip(name)
    read = list(clip.images(clip.sample(0.3, 128)))
    assert len(sent) == len(read) == 6
    for url, image in zip(sent, read, strict=True):
        received = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        close = sum(abs(a - b) for a, b in zip(received.tobytes(), image.tobytes(), strict=True)) / len(
            image.tobytes()
        )
        assert close < 8  # JPEG


def test_what_is_written_can_be_trained_on(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        rows = run(folder, server)
    info = json.loads((folder / "dataset_info.json").read_text())
    assert {info[name]["target"] for name in ("o", "o_answer", "o_reasoning")} == {"multitask", "answer", "reasoning"}
    options = read_options(info["o"], name="o")
    tasks = [tasks_of(one, options) for one in rows]
    assert tasks == [["answer", "reasoning"], ["answer", "reasoning"], ["answer"], ["answer", "reasoning"]]


def test_the_report(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server:
        run(folder, server)
    found = json.loads((folder / "out" / "o.report.json").read_text())
    assert found["correct_share"] == {"CW": 1.0, "TN": 0.0, "all": 0.5}
    assert found["deleted_sentences"] == {"answer": 2, "text": 1, "letter": 1}
    assert (found["sentences"], found["empty_after_refining"]) == (11, 1)
    assert found["words"] == {"written": (17 + 12 + 5 + 15) / 4, "refined": (10 + 10 + 0 + 15) / 4}
    assert Image.open(folder / "out" / "o.report.png").size[0] > 600


def test_several_samples_and_a_model_that_refines(folder: Path) -> None:
    keys = {"num_samples": 2, "keep": "all", "refine_by_model": "true", "show_answer": "true", "max_samples": 1}
    with OpenAIServer(Behaviour(answer=write)) as server:
        rows = run(folder, server, **keys)
        shown = [json.dumps(body["messages"]) for body in server.bodies]
    assert [one["id"] for one in rows] == ["q0#0", "q0#1"]
    assert {one["reasoning"] for one in rows} == {"The ball rolls to the left."}
    assert any("The correct answer is: (B) it hits a wall" in text for text in shown)
    assert all("image_url" not in text for text in shown if "Copy the reasoning" in text)


def test_held_out_answers_are_asked_for_as_training_asks(folder: Path) -> None:
    answer = Behaviour(answer=lambda body, number: "B")
    with OpenAIServer(answer) as server:
        rows = run(folder, server, task="answer", answer_form="both", max_new_tokens=8)
        prompt = server.bodies[0]["messages"][0]["content"][-1]["text"]
    options = read_options({"answer_form": "both"}, name="d")
    assert prompt == prompt_of(rows[0], "answer", options).replace("<video>", "")
    assert [(one["prediction"], one["reached"]) for one in rows] == [("B", 1)] * 4
    assert "reasoning" not in rows[0]
    run_score(["metric=choice_accuracy", f"predictions={folder / 'out' / 'o.jsonl'}", f"output={folder / 's.json'}"])
    assert json.loads((folder / "s.json").read_text())["metrics"]["choice_accuracy"]["score"] == 0.75


def test_keys_that_cannot_work_are_named(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=write)) as server, pytest.raises(SystemExit) as caught:
        run(folder, server, refine_rules="letter,words", num_samples=2, temperature=0, keep="some")
    for key in ("refine_rules", "num_samples", "keep"):
        assert key in str(caught.value)


def test_a_clip_that_is_not_there_is_one_failure(folder: Path) -> None:
    rows = json.loads((folder / "d.json").read_text())
    rows[1]["end"] = 40.0
    (folder / "d.json").write_text(json.dumps(rows))
    with OpenAIServer(Behaviour(answer=write)) as server:
        assert [one["id"] for one in run(folder, server)] == ["q0", "q2", "q3"]
    (failed,) = read_lines(folder / "out" / "o.failures.jsonl")
    assert "end: got 40 s, expected at most 10 s" in failed["reason"].replace("`", "").replace("field ", "")
