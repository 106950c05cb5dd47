"""`pipeline: hints` against a real HTTP server whose teacher we wrote; what is a hint, what gives the answer away, what leaks."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.formats.texts.hints import parse_hint
from llamafactory_hind.formats.texts.leaks import find_hint_leak
from llamafactory_hind.methods.hints.prompts import HintPrompts
from llamafactory_hind.pipelines import hints
from llamafactory_hind.pipelines.rules.naming import names_answer
from llamafactory_hind.pipelines.runner.command import build_arguments
from llamafactory_hind.pipelines.runner.rows import read_rows
from llamafactory_hind.pipelines.runner.run import run_synth
from shared.openai_server import Behaviour, OpenAIServer
from shared.synth import read_lines


ROWS: list[dict[str, Any]] = [
    {"id": "good", "prompt": "<image>How many things?", "images": ["images/0.png"], "answer": 12, "hint": None},
    {"id": "late", "prompt": "What barks?", "answer": "dog"},
    {"id": "never", "prompt": "What meows?", "answer": "B", "choices": ["dog", "cat"]},
    {"id": "there", "prompt": "What swims?", "answer": "fish", "hint": "Look at the fins."},
    {
        "id": "talk",
        "messages": [
            {"role": "system", "content": "Write <answer> </answer>."},
            {"role": "user", "content": "Count."},
            {"role": "assistant", "content": "What?"},
            {"role": "user", "content": "Discs."},
        ],
        "answer": "yes",
        "note": 7,
    },
]
LATE = ["It is a dog.", "<hint>The dog does.</hint>", "<hint>See <image>.</hint>", "<hint>Think of pets.</hint>"]


@pytest.fixture
def folder(small_world: Path, tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    picture = sorted((small_world / "images").glob("*.png"))[0]
    (tmp_path / "images" / "0.png").write_bytes(picture.read_bytes())
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({"rows": {"file_name": "rows.json", "formatting": "rollout"}})
    )
    return tmp_path


def synth(folder: Path, url: str, **more: Any) -> list[dict[str, Any]]:
    given = {
        "pipeline": "hints", "engine": "openai", "base_url": url, "model": "org/large", "dataset_dir": folder,
        "dataset": "rows", "output": folder / "out.jsonl", "max_attempts": 4, **more,
    }  # fmt: skip
    run_synth([f"{key}={value}" for key, value in given.items()])
    return read_lines(folder / "out.jsonl")


class Teacher:
    """Good at once, good at the fourth attempt, or always giving the answer away."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: Mapping[str, Any], number: int) -> str:
        question = json.dumps(body["messages"])
        name = next((name for name in ("barks", "meows", "Discs") if name in question), "things")
        self.asked[name] += 1
        late = LATE[min(self.asked["barks"], 4) - 1]
        return {"barks": late, "meows": "<hint>The cat.</hint>", "Discs": "<hint>Yes, see.\n</hint>"}.get(
            name, "Well: <hint>Count row by row, up to a dozen"
        )


def test_hints_are_written_asked_for_again_and_counted(folder: Path) -> None:
    """Row `late`: no tags, the answer's name, a placeholder, then a good one; `never`: four times its choice."""
    with OpenAIServer(Behaviour(answer=Teacher())) as server:
        rows = synth(folder, server.url)
        calls, bodies = server.calls, list(server.bodies)
        assert synth(folder, server.url) == rows
        assert server.calls == calls == 1 + 4 + 4 + 0 + 1
    assert [(row["id"], row["hint"]) for row in rows] == [
        ("good", "Count row by row, up to a dozen"),
        ("late", "Think of pets."),
        ("never", None),
        ("there", "Look at the fins."),
        ("talk", "Yes, see."),
    ]
    assert rows[4]["note"] == 7
    assert rows[0]["provenance"]["pipeline"] == "hints"
    assert "provenance" not in rows[3]
    assert json.loads((folder / "out.report.json").read_text()) == {
        "rows": 5,
        "kept": 3,
        "kept_at_first_attempt": 2,
        "had_a_hint": 1,
        "without_hint": 1,
        "dropped_texts": {"names the answer": 5, "no hint found": 1, "media placeholder in the hint": 1},
    }
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["out"] == {"file_name": "out.jsonl", "formatting": "rollout"}
    shown = [json.dumps(body["messages"]) for body in bodies]
    assert sum("image_url" in text for text in shown) == 1
    assert not any("<image>" in text or "<answer>" in text for text in shown)  # the system text is the student's
    assert any("The correct answer is: 12" in text for text in shown)
    talk = next(body["messages"] for body in bodies if "Discs" in json.dumps(body["messages"]))
    assert [turn["role"] for turn in talk] == ["user", "assistant", "user"]


def test_a_teacher_without_tags_that_may_name_the_answer(folder: Path) -> None:
    with OpenAIServer(Behaviour(answer=lambda body, number: " It is a dog, a cat. ")) as server:
        rows = synth(folder, server.url, hint_tags="false", may_name_answer="true")
        assert server.calls == 4
    assert [row["hint"] for row in rows] == ["It is a dog, a cat."] * 3 + ["Look at the fins.", "It is a dog, a cat."]


def test_a_text_that_was_cut_is_no_hint(folder: Path) -> None:
    def cut(number: int, body: Mapping[str, Any]) -> tuple[int, dict[str, str], str]:
        reply = Behaviour(answer=lambda *_: "<hint>Look at the").completion(body)
        reply["choices"][0]["finish_reason"] = "length"
        return 200, {}, json.dumps(reply)

    with OpenAIServer(Behaviour(script=cut)) as server:
        rows = synth(folder, server.url, max_attempts=2)
    assert [row["hint"] for row in rows] == [None, None, None, "Look at the fins.", None]
    assert json.loads((folder / "out.report.json").read_text())["dropped_texts"] == {"cut at max_new_tokens": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0}, "max_attempts: got 4, expected at most 1 with temperature 0"),
        ({"hint_prompts": "x"}, "hint_prompt"),
        ({"hint_prompt": "gone.jinja"}, "a readable file"),
        ({"max_attempts": 0}, "1 or more"),
    ],
)
def test_wrong_keys_stop_before_a_call(folder: Path, changes: dict[str, Any], message: str) -> None:
    with OpenAIServer(Behaviour()) as server:
        with pytest.raises(SystemExit, match=message):
            synth(folder, server.url, **changes)
        assert server.calls == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_training_asks_a_teacher_in_the_same_words(folder: Path, language: str) -> None:
    settings = {
        "pipeline": "hints", "engine": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "dataset": "rows",
        "dataset_dir": str(folder), "output": str(folder / "o.json"), "language": language,
    }  # fmt: skip
    _, arguments = build_arguments(settings)
    rows, failures = read_rows(
        ["rows"], dataset_dir=str(folder), media_dir=None, max_samples=None, formatting="rollout"
    )
    assert not failures
    prompts = HintPrompts.read(hint_prompt=None, hinted_prompt=None, language=language, variant="hint")
    for row in rows:
        turns = [turn for turn in row.fields.get("messages", []) if turn["role"] != "system"]
        turns = turns or [{"role": "user", "content": row.fields["prompt"]}]
        feature = {
            "row_id": row.id,
            "columns": json.dumps(row.fields),
            "conversation": json.dumps({"system": "", "tools": "", "turns": turns}),
        }
        assert hints.conversation(row, arguments) == prompts.for_teacher(feature)


@pytest.mark.parametrize(
    ("text", "tagged", "bare", "cut"),
    [
        ("<hint>Look left.</hint>", "Look left.", "Look left.", "Look left."),
        ("Sure!\n< Hint >\nLook left.\n</ HINT > Done.", "Look left.", "Look left.", "Look left."),
        ("<hint>Look left.", "Look left.", "Look left.", None),
        ("Between <hint> and </hint>: <hint>Look left.</hint>", "Look left.", "Look left.", "Look left."),
        ("<hint>First.</hint> <hint></hint>", "First.", "First.", "First."),
        ("<hint>First.</hint> <hint>Seco", "First.", "First.", "First."),
        ("<hint><hint>Look left.</hint></hint>", "Look left.", "Look left.", "Look left."),
        ("<think>A <hint>draft</hint>.</think>\n<hint>Look left.</hint>", "Look left.", "Look left.", "Look left."),
        ("It was shown: cat. </think> <hint>Look left.</hint>", "Look left.", "Look left.", "Look left."),
        ("<think>A <hint>draft</hint>", None, None, None),
        (" Look left. ", None, "Look left.", None),
        ("<hint> \n </hint>", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_hint_is_read_as_models_write_it(text: str, tagged: str | None, bare: str | None, cut: str | None) -> None:
    """With tags, where they are not asked for, and with tags where the text was cut."""
    found = parse_hint(text, tags=True), parse_hint(text, tags=False), parse_hint(text, tags=True, cut=True)
    assert found == (tagged, bare, cut)


@pytest.mark.parametrize(
    ("hint", "answers", "choices", "question"),
    [
        ("The dog barks.", ["dog"], None, "What barks?"),
        ("There are two of them.", ["2"], None, "How many?"),
        ("There are 12.", ["<answer>12</answer>"], None, "How many?"),
        ("Recall what cats eat.", ["B"], ["dogs", "cats"], "Who? (A) dogs (B) cats"),
        ("Look at option B.", ["cats"], ["dogs", "cats"], "Who?"),
        ("It must be (B), see the tail.", ["B"], None, "Who?"),
        ("So the answer is **B**.", ["B"], None, "Who?"),
        ("答案：B", ["B"], None, "谁?"),
        ("想一想长颈鹿。", ["长颈鹿"], None, "这是什么?"),
    ],
)
def test_a_hint_that_gives_the_answer_away_is_seen(
    hint: str, answers: list[str], choices: list[str] | None, question: str
) -> None:
    assert names_answer(hint, answers, question=question, choices=choices)


@pytest.mark.parametrize(
    ("hint", "answers", "choices", "question"),
    [
        ("Yes, look at the tail.", ["yes"], None, "Is it a cat?"),
        ("A tail helps; see B's ears.", ["A"], None, "Who?"),
        ("Bring a ruler.", ["B"], ["one", "two"], "Which?"),
        ("Compare the cat with the dog.", ["dog"], None, "Is the cat or the dog larger?"),
        ("Look at the hotdog.", ["dog"], None, "What is it?"),
        ("看三角形的边。", ["三"], None, "有几个?"),
        ("No red thing helps.", ["B"], ["yes", "no"], "Is it red?"),
    ],
)
def test_a_hint_that_does_not_passes(hint: str, answers: list[str], choices: list[str] | None, question: str) -> None:
    assert not names_answer(hint, answers, question=question, choices=choices)


@pytest.mark.parametrize(
    "text",
    [
        "As the hint says, it is moss.",
        "The hint points to the left.",
        "According to the provided hint, B.",
        "Hint: look left. So B.",
        "As hinted, the tail is long.",
        "The teacher said so.",
        "From the given clues it follows.",
        "The given answer is B.",
        "Since the answer is B, the tail is long.",
        "根据提示，这是猫。",
        "如提示所说，这是猫。",
        "提示中提到尾巴。",
        "上述提示说明这是猫。",
        "给出的答案是猫。",
    ],
)
def test_a_completion_that_says_it_was_helped_leaks(text: str) -> None:
    assert find_hint_leak(text)


@pytest.mark.parametrize(
    "text",
    [
        "So the correct answer is B.",
        "This leads to the answer: B.",
        "The sky has a hint of red.",
        "With the hint of smoke in the air, it is autumn.",
        "The shadows hint at a lamp.",
        "The teacher writes on the board.",
        "影像提示肺炎。",
        "检查提示中度积液。",
        "正确答案是猫。",
    ],
)
def test_ordinary_completions_do_not(text: str) -> None:
    assert find_hint_leak(text) is None
