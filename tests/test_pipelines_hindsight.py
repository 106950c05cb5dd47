"""`pipeline: hindsight` and `pipeline: answer` against a real HTTP server whose model we wrote: filters, second attempts, votes."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai_server import Behaviour, OpenAIServer

from llamafactory_hind.pipelines.hindsight import judge
from llamafactory_hind.pipelines.runner.rows import Row
from llamafactory_hind.pipelines.runner.run import run_synth


GOOD = "Reasoning:\n1. It is a dax.\n2. A dax eats {0}.\nKnowledge:\n- People say the dax eats {0}.\nAnswer: {0}"


def row(answer: str = "plums", references: list[str] | None = None) -> Row:
    fields = {"question": "What does it eat?", "answer": answer, "answers": references}
    return Row("r", "file.json", 1, fields, {"images": [], "videos": [], "audios": []})


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        (GOOD.format("plums"), "stop", "kept"),
        (GOOD.format("plums"), "length", "cut at max_new_tokens"),
        (GOOD.format("nuts"), "stop", "does not end at the answer"),
        ("It eats plums.", "stop", "no reasoning found"),
        ("Reasoning:\n1. A dax.\nAnswer: plums", "stop", "no knowledge found"),
        (GOOD.format("plums").replace("It is a dax", "<image> is a dax"), "stop", "media placeholder in the text"),
        (
            GOOD.format("plums").replace("It is a dax", "The given answer is plums"),
            "stop",
            "reasoning says that the answer was given",
        ),
        (
            GOOD.format("plums").replace("People say", "As the answer says,"),
            "stop",
            "knowledge says that the answer was given",
        ),
    ],
)
def test_a_text_is_kept_or_dropped_for_one_reason(text: str, finish_reason: str, reason: str) -> None:
    assert judge(row(), {"text": text, "finish_reason": finish_reason}).reason == reason


def test_a_leaking_fact_is_left_out_and_the_others_stay() -> None:
    text = GOOD.format("plums").replace("Answer:", "- The provided answer is plums.\nAnswer:")
    found = judge(row(), {"text": text, "finish_reason": "stop"})
    assert found.kept
    assert found.knowledge == ["People say the dax eats plums."]
    assert found.dropped_facts == [("The provided answer is plums.", "The provided answer")]


def test_any_answer_on_which_three_people_agree_will_do() -> None:
    """Three of ten say `prunes`, which scores 1 in VQA; the single `nuts` does not count."""
    references = ["plums"] * 6 + ["prunes"] * 3 + ["nuts"]
    for answer, kept in (("prunes", True), ("Plums!", True), ("nuts", False)):
        text = GOOD.format("plums").replace("Answer: plums", f"Answer: {answer}")
        assert judge(row(references=references), {"text": text, "finish_reason": "stop"}).kept is kept


def test_without_an_answer_line_the_last_step_must_reach_it() -> None:
    text = "Reasoning:\n1. It is a dax.\n2. So it eats plums.\nKnowledge:\n- A dax is wild."
    assert judge(row(), {"text": text, "finish_reason": "stop"}).kept
    assert not judge(row("nuts"), {"text": text, "finish_reason": "stop"}).kept


@pytest.fixture
def world(small_world: Path, tmp_path: Path) -> Path:
    """A world of one's own, to write into."""
    (tmp_path / "images").symlink_to(small_world / "images")
    shutil.copytree(small_world / "rows", tmp_path / "rows")
    shutil.copy(small_world / "dataset_info.json", tmp_path)
    return tmp_path


def synth(world: Path, server: OpenAIServer, pipeline: str, output: str, **more: Any) -> list[dict[str, Any]]:
    given = {
        "pipeline": pipeline,
        "engine": "openai",
        "base_url": server.url,
        "model": "model",
        "dataset_dir": world,
        "dataset": "hindsight_train",
        "output": world / output,
        **more,
    }
    run_synth([f"{key}={value}" for key, value in given.items()])
    return json.loads((world / output).read_text())


def text_of(body: Mapping[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def test_a_dropped_text_is_written_again_and_every_row_is_accounted_for(world: Path) -> None:
    """The first text of every third question leaks, its second is good; another third never reaches the answer."""
    rows = json.loads((world / "rows" / "hindsight_train.json").read_text())[:12]
    for number, each in enumerate(rows):
        each["question"] = f"Question {number}?"
    (world / "rows" / "hindsight_train.json").write_text(json.dumps(rows))
    asked: Counter[str] = Counter()

    def answer(body: Mapping[str, Any], _: int) -> str:
        text = text_of(body)
        number = int(text.split("Question ")[1].split("?")[0])
        asked[str(number)] += 1
        gold = rows[number]["answer"]
        assert f"The correct answer is: {gold}" in text
        if number % 3 == 1 and asked[str(number)] == 1:
            return GOOD.format(gold).replace("It is", "Since the answer is known, it is").replace("known", "given")
        return GOOD.format(gold if number % 3 < 2 else "stones")

    with OpenAIServer(Behaviour(answer=answer)) as server:
        written = synth(world, server, "hindsight", "written.json", max_attempts=2)
    assert [each["id"] for each in written] == [each["id"] for place, each in enumerate(rows) if place % 3 < 2]
    assert written[0]["cot"] == ["It is a dax.", f"A dax eats {rows[0]['answer']}."]
    assert written[0]["provenance"]["source_id"] == rows[0]["id"]
    assert dict(asked) == {str(number): 1 if number % 3 == 0 else 2 for number in range(12)}
    report = json.loads((world / "written.report.json").read_text())
    assert report["kept"] == 8
    assert report["dropped"] == {"does not end at the answer": 4}
    assert report["kept_at_first_attempt"] == 4
    dropped = [json.loads(line) for line in (world / "written.dropped.jsonl").read_text().splitlines()]
    assert [len(each["attempts"]) for each in dropped] == [2] * 4
    info = json.loads((world / "dataset_info.json").read_text())
    assert [info[f"written{ending}"]["target"] for ending in ("", "_cot", "_knowledge")] == [
        "multitask",
        "cot",
        "knowledge",
    ]


def answering(body: Mapping[str, Any], number: int) -> str:
    """Reason; know plums twice in three times; answer with the last word of the knowledge, else `stones`."""
    text = text_of(body)
    if text.endswith("Think step by step."):
        return "It is a dax."
    if text.endswith("Write one fact that helps to answer."):
        return f"The dax eats {'nuts' if number == 1 else 'plums'}."
    assert text.endswith("Answer briefly.")
    if "Knowledge: " not in text:
        return "stones"
    return text.split("Knowledge: ")[1].split(".")[0].split()[-1]


@pytest.mark.parametrize(
    ("settings", "prediction", "votes", "calls"),
    [
        # one call for the reasoning, one for three samples, one answer for each of the two texts among them
        ({"num_knowledge": 3}, "plums", ["plums", "nuts", "plums"], 4),
        ({"num_knowledge": 3, "use_cot": False}, "plums", ["plums", "nuts", "plums"], 3),
        ({"num_knowledge": 1}, "plums", ["plums"], 3),
        ({"num_knowledge": 0}, "stones", ["stones"], 2),
        ({"num_knowledge": 0, "use_cot": False}, "stones", ["stones"], 1),
    ],
)
def test_each_part_can_be_left_out(
    world: Path, settings: dict[str, Any], prediction: str, votes: list[str], calls: int
) -> None:
    with OpenAIServer(Behaviour(answer=answering)) as server:
        (found,) = synth(world, server, "answer", "answers.json", max_samples=1, **settings)
        assert server.stats()["calls"] == calls
    assert found["prediction"] == prediction
    assert found["predictions"] == votes
    assert found["vote_share"] == pytest.approx(votes.count(prediction) / len(votes))
    assert found["written_cot"] == ("It is a dax." if settings.get("use_cot", True) else None)
    assert len(found["written_knowledge"]) == settings["num_knowledge"]


def test_a_question_without_a_gold_answer_is_answered(world: Path) -> None:
    """And what a row already holds as reasoning or knowledge is never shown to the answerer."""
    rows = json.loads((world / "rows" / "hindsight_train.json").read_text())[:2]
    for each in rows:
        del each["answer"], each["answers"]
        each["knowledge"] = ["SECRET"]
        each["cot"] = ["SECRET"]
    (world / "rows" / "hindsight_train.json").write_text(json.dumps(rows))
    seen = []

    def answer(body: Mapping[str, Any], number: int) -> str:
        seen.append(text_of(body))
        return answering(body, number)

    with OpenAIServer(Behaviour(answer=answer)) as server:
        found = synth(world, server, "answer", "answers.json", num_knowledge=0, use_cot=False)
    assert [each["prediction"] for each in found] == ["stones", "stones"]
    assert len(seen) == 2
    assert not any("SECRET" in text for text in seen)
