"""`formats.video_reasoning`: what becomes of a good row, and what a bad one is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.formats.align.tasks import join_tasks
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.video_reasoning.rows import find_problems, read_options, reply_of
from llamafactory_hind.storage.clip_names import parse_clip
from shared.formats import FormatSetup
from shared.videos import frame_picture, write_sound, write_video


ROW = {
    "id": "q1",
    "videos": ["v.mp4"],
    "start": 1.0,
    "end": 7.5,
    "question": "Why does the ball stop?",
    "choices": ["it is caught", "it hits a wall", "it melts"],
    "answer": "it hits a wall",
    "reasoning": "The ball rolls to the left. A wall is there.",
    "reasoning_unrefined": "The ball rolls to the left. A wall is there. So the answer is (B).",
    "reasoning_correct": True,
    "type": "CW",
    "level": 3,
}
ANSWER = (
    "<video>Why does the ball stop?\nChoices: (A) it is caught (B) it hits a wall (C) it melts\n"
    "Answer with the letter of the right choice."
)
EXPLAIN = ANSWER.rpartition("\n")[0] + "\nExplain step by step what helps to answer. Do not state the answer."


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4").read_bytes()


@pytest.fixture
def setup(tmp_path: Path, video: bytes) -> FormatSetup:
    (tmp_path / "v.mp4").write_bytes(video)
    return FormatSetup(tmp_path)


def align(setup: FormatSetup, *rows: dict[str, Any], **info: Any) -> list[dict[str, Any]]:
    return list(setup.align(rows, **({"formatting": "video_reasoning"} | info)))


def turns(example: dict[str, Any]) -> tuple[str, str]:
    return example["_prompt"][0]["content"], example["_response"][0]["content"]


def test_an_answer(setup: FormatSetup) -> None:
    (example,) = align(setup, ROW)
    assert turns(example) == (ANSWER, "B")
    assert example["_videos"] == [f"{setup.folder / 'v.mp4'}#t=1,7.5"]
    columns = json.loads(example["_columns"])
    assert (columns["task"], columns["type"], columns["level"], columns["answer"]) == (
        *("answer", "CW", 3),
        "it hits a wall",
    )


def test_two_tasks_of_one_row_differ_by_their_instruction_alone(setup: FormatSetup) -> None:
    first, second = align(setup, ROW, target="multitask")
    assert turns(first) == (ANSWER, "B")
    assert turns(second) == (EXPLAIN, ROW["reasoning"])
    assert first["_videos"] == second["_videos"]
    assert first["_source"] == second["_source"]
    assert [json.loads(one["_columns"])["task"] for one in (first, second)] == ["answer", "reasoning"]


@pytest.mark.parametrize(
    ("info", "changes", "tasks"),
    [
        ({"target": "multitask"}, {"reasoning_correct": False}, ["answer", "reasoning"]),  # the paper's
        ({"target": "multitask", "correct_only": True}, {"reasoning_correct": False}, ["answer"]),
        ({"target": "multitask", "correct_only": True}, {}, ["answer", "reasoning"]),
        ({"target": "multitask"}, {"reasoning": ""}, ["answer"]),
        ({"target": "multitask"}, {"reasoning": None}, ["answer"]),
        ({"target": "reasoning", "correct_only": True}, {"reasoning_correct": False}, []),
        ({"target": "reasoning"}, {"reasoning": ""}, []),
    ],
)
def test_which_examples_a_row_becomes(
    setup: FormatSetup, info: dict[str, Any], changes: dict[str, Any], tasks: list[str]
) -> None:
    examples = align(setup, ROW | {"id": "other"}, ROW | changes, **info)
    mine = [json.loads(one["_columns"]) for one in examples]
    assert [one["task"] for one in mine if one["id"] == "q1"] == tasks


def test_a_row_of_no_task_is_no_example_of_several_tasks_either() -> None:
    """`target: reasoning` with `correct_only`, in `stage: reason_sft`."""
    assert list(join_tasks(iter(()))) == []


def test_unrefined_reasoning_is_one_key(setup: FormatSetup) -> None:
    (example,) = align(setup, ROW, target="reasoning", refined=False)
    assert turns(example)[1] == ROW["reasoning_unrefined"]


def test_reasoning_and_answer_in_one_turn(setup: FormatSetup) -> None:
    (example,) = align(setup, ROW, target="reasoned_answer", answer_form="both")
    assert turns(example)[1] == f"{ROW['reasoning']}\nAnswer: (B) it hits a wall"


@pytest.mark.parametrize("answer", ["it hits a wall", "It hits a wall.", "B", 1, "1"])
def test_a_gold_answer_may_be_text_letter_or_index(answer: Any) -> None:
    for form, text in (("letter", "B"), ("text", "it hits a wall"), ("both", "(B) it hits a wall")):
        options = read_options({"answer_form": form}, name="x")
        assert not list(find_problems(ROW | {"answer": answer}, options))
        assert reply_of(ROW | {"answer": answer}, "answer", options) == text


def test_chinese_prompts(setup: FormatSetup) -> None:
    row = ROW | {
        "question": "球为什么停下？",
        "choices": ["被接住", "撞墙"],
        "answer": "撞墙",
        "reasoning": "球向左滚。",
    }
    answer, explain = align(setup, row, target="multitask", language="zh")
    assert turns(answer) == ("<video>球为什么停下？\n选项：(A) 被接住 (B) 撞墙\n请回答正确选项的字母。", "B")
    assert turns(explain)[0].endswith("不要说出答案。")
    (both,) = align(setup, row, target="reasoned_answer", language="zh")
    assert turns(both)[1] == "球向左滚。\n答案：B"


def test_a_prompt_file_of_ones_own(setup: FormatSetup, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ media }}{{ question }} Level {{ level }}. {{ answer_form }}")
    (example,) = align(setup, ROW, answer_prompt=str(file))
    assert turns(example)[0] == "<video>Why does the ball stop? Level 3. letter"
    file.write_text("{{ media }}{{ question }} again")  # an edited prompt is not answered from the cache
    (example,) = align(setup, ROW, answer_prompt=str(file))
    assert turns(example)[0] == "<video>Why does the ball stop? again"
    (example,) = align(setup, ROW, answer_prompt="{{ question }} itself")
    assert turns(example)[0] == "Why does the ball stop? itself"
    file.write_text("{{ levl }}")
    with pytest.raises(BadRowsError, match=r"row 1, field `answer_prompt`.*levl"):
        align(setup, ROW, answer_prompt=str(file))


def test_recorded_frames_are_in_the_name(setup: FormatSetup) -> None:
    (example,) = align(setup, ROW | {"frames": {"indices": [10, 20], "seconds": [1.0, 2.0]}})
    assert example["_videos"] == [f"{setup.folder / 'v.mp4'}#t=1,7.5&n=10,20&s=1,2"]


def test_a_row_without_a_span_is_the_whole_file(setup: FormatSetup) -> None:
    (example,) = align(setup, ROW | {"start": None, "end": None})
    assert example["_videos"] == [f"{setup.folder / 'v.mp4'}#t=0,"]


def test_folders_and_lists_of_pictures(setup: FormatSetup) -> None:
    (setup.folder / "frames").mkdir()
    for number in range(8):
        Image.fromarray(frame_picture(number)).save(setup.folder / "frames" / f"{number}.png")
    row = ROW | {"videos": ["frames"], "start": 0.5, "end": 1.5, "fps": 4}
    (example,) = align(setup, row)
    assert example["_videos"] == [f"{setup.folder / 'frames'}#t=0.5,1.5&fps=4"]
    listed = row | {"videos": [[f"frames/{number}.png" for number in (1, 0, 2)]], "start": None, "end": None}
    (example,) = align(setup, listed | {"fps": None})
    clip = parse_clip(example["_videos"][0])
    assert (clip.source, clip.pictures, clip.fps) == (str(setup.folder / "frames"), ("1.png", "0.png", "2.png"), "2")


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"end": 0.5}, "end", "got 0.5 s, expected more than `start`, 1 s"),
        ({"end": 20}, "end", "got 20 s, expected at most 10 s"),
        ({"start": 11, "end": None}, "start", "expected less than 10 s"),
        ({"start": "1"}, "start", "seconds of the file"),
        ({"start": -1}, "start", "0 or more"),
        ({"frames": {"indices": [3, 2]}}, "frames.indices", "rising numbers"),
        ({"frames": {"indices": [3], "seconds": [0.3]}}, "frames[0]", "frames 10 to 74, the clip's"),
        ({"frames": [3, 2]}, "frames", "2 values, expected one for each of 1 videos"),
        ({"videos": ["none.mp4"]}, "videos[0]", "does not exist"),
        ({"videos": ["sound.mp4"]}, "videos[0]", "a file with a video stream"),
        ({"videos": ["v.mp4", "v.mp4"]}, "start", "exactly one video"),
        ({"videos": ["empty"], "fps": 2}, "videos[0]", "a folder with pictures"),
        ({"videos": ["v.mp4"], "fps": 0}, "fps", "more than 0"),
        ({"answer": "it flies"}, "answer", "its letter, or its index"),
        ({"answer": None}, "answer", "non-empty text"),
        ({"answer": 3}, "answer", "its letter, or its index"),
        ({"choices": ["one", ""]}, "choices", "a list of non-empty texts"),
        ({"question": "<video> and <video>?"}, "question", "as many placeholders as media"),
        ({"reasoning": "see <video>"}, "reasoning", "without media placeholders"),
    ],
)
def test_bad_rows_are_named(setup: FormatSetup, changes: dict[str, Any], field: str, says: str) -> None:
    write_sound(setup.folder / "sound.mp4")
    (setup.folder / "empty").mkdir()
    with pytest.raises(BadRowsError) as caught:
        align(setup, ROW, ROW | changes)
    message = str(caught.value)
    assert f"row 2, field `{field}`" in message
    assert says in message
    assert "row 1," not in message


@pytest.mark.parametrize(
    ("info", "changes", "says"),
    [
        ({"target": "reasoning"}, {"reasoning": None}, "field `reasoning`: got nothing"),
        ({"target": "reasoning", "refined": False}, {"reasoning_unrefined": None}, "field `reasoning_unrefined`"),
        ({"target": "multitask", "correct_only": True}, {"reasoning_correct": None}, "`correct_only: true`"),
        ({"target": "multitask"}, {"reasoning_correct": "yes"}, "true, false or null"),
    ],
)
def test_bad_reasoning_is_named(setup: FormatSetup, info: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRowsError, match="row 1") as caught:
        align(setup, ROW | changes, **info)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"target": "answers"}, "target: got 'answers', expected one of answer, reasoning, multitask"),
        ({"answer_form": "word"}, "answer_form: got 'word', expected one of letter, text, both"),
        ({"language": "de"}, "language: got 'de', expected one of en, zh"),
        ({"correct_onli": True}, "did you mean `correct_only`"),
        ({"refined": "no"}, "refined: got 'no', expected true or false"),
        ({"ranking": True}, "ranking: got true"),
        ({"answer_prompt": "{{ media"}, "answer_prompt: got 'answer_prompt', expected a Jinja template: Line 1"),
        ({"answer_prompt": "none.jinja"}, "answer_prompt: got 'none.jinja', expected a readable file"),
        ({"columns": {"span": "x"}}, "columns.span: unknown field"),
    ],
)
def test_a_wrong_entry_is_named(info: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"formatting: video_reasoning") as caught:
        read_options(info, name="clips")
    assert says in str(caught.value)


def test_one_row_that_is_bad_costs_no_other(setup: FormatSetup) -> None:
    setup.data_args.skip_bad_rows = True
    examples = align(setup, ROW, ROW | {"id": "bad", "end": 50}, ROW | {"id": "q3"})
    assert [json.loads(one["_columns"])["id"] for one in examples] == ["q1", "q3"]
    (listed,) = setup.skipped()
    assert (listed["row"], listed["field"]) == (2, "end")


def test_the_sample_is_a_good_one(tmp_path: Path) -> None:
    samples = Path(__file__).resolve().parents[3] / "data_info"
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    setup = FormatSetup(tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    examples = list(setup.align(None, **info["video_reasoning_sample"]))
    assert [json.loads(one["_columns"])["task"] for one in examples] == [
        *("answer", "reasoning", "answer", "reasoning"),
        "answer",
    ]
    assert [one["_response"][0]["content"] for one in examples if json.loads(one["_columns"])["task"] == "answer"] == [
        *("A", "A"),
        "a ball",
    ]


@pytest.mark.parametrize("answer", [1, "B", "it hits a wall"])
@pytest.mark.parametrize("form", ["letter", "both"])
def test_predictions_are_scored_against_any_form_of_gold(tmp_path: Path, answer: Any, form: str) -> None:
    rows = [ROW | {"id": "q1", "answer": answer}, ROW | {"id": "q2", "answer": answer, "type": "TN"}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    entry = {"file_name": "d.json", "formatting": "video_reasoning", "answer_form": form}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": entry}))
    lines = [json.dumps({"id": "q1", "prediction": "B"}), json.dumps({"id": "q2", "prediction": "(C) it melts"})]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    words = ["metric=choice_accuracy", f"predictions={tmp_path / 'p.jsonl'}", "dataset=d", f"dataset_dir={tmp_path}"]
    run_score(words)
    found = json.loads((tmp_path / "p.score.json").read_text())["metrics"]["choice_accuracy"]
    assert found["score"] == 0.5
