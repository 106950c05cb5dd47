"""`formats.hindsight.converter` and `formats.hindsight.options`: what becomes of a good row."""

import copy
import json
from pathlib import Path

import pytest

from llamafactory_hind.formats import get_converters
from llamafactory_hind.formats.hindsight.options import read_options
from shared.formats import COLUMNS, FormatSetup, picture, write_rows


SAMPLES = Path(__file__).resolve().parents[3] / "data_info"
ROW = {
    "id": "r1",
    "images": ["a.png"],
    "question": "What does it eat?",
    "answer": "moss",
    "answers": ["moss", "moss", "plums"],
    "choices": None,
    "cot": ["It is a dax.", "A dax eats moss."],
    "knowledge": ["A dax eats moss.", "Moss is green."],
    "chosen": "A dax eats moss.",
    "rejected": "A dax is large.",
    "chosen_confidence": -2.5,
    "rejected_confidence": -0.5,
    "helpfulness": 1.0,
    "level": {"name": "easy", "rank": 3},
}


def turns(dataset) -> list[tuple[str, list[str]]]:
    """Return (user turn, assistant turns) of every example."""
    return [(row["_prompt"][0]["content"], [turn["content"] for turn in row["_response"]]) for row in dataset]


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    picture(tmp_path / "a.png")
    return FormatSetup(tmp_path)


@pytest.mark.parametrize(
    ("info", "user", "assistant"),
    [
        ({}, "<image>What does it eat?\nAnswer briefly.", ["moss"]),
        ({"target": "cot"}, "<image>What does it eat?\nThink step by step.", ["It is a dax.\nA dax eats moss."]),
        (
            {"target": "knowledge"},
            "<image>What does it eat?\nWrite one fact that helps to answer.",
            ["A dax eats moss.\nMoss is green."],
        ),
        (
            {"target": "answer", "context": ["knowledge", "cot"]},
            (
                "<image>What does it eat?\nReasoning: It is a dax.\nA dax eats moss.\nKnowledge: A dax eats moss.\nMoss is green.\n"
                "Answer briefly."
            ),
            ["moss"],
        ),
        (
            {"ranking": True},
            "<image>What does it eat?\nWrite one fact that helps to answer.",
            ["A dax eats moss.", "A dax is large."],
        ),
        (
            {"ranking": True, "target": "cot"},
            "<image>What does it eat?\nThink step by step.",
            ["A dax eats moss.", "A dax is large."],
        ),
        (
            {"target": "cot", "columns": {"cot": "knowledge", "images": "images"}},
            "<image>What does it eat?\nThink step by step.",
            ["A dax eats moss.\nMoss is green."],
        ),
    ],
)
def test_targets(setup: FormatSetup, info: dict, user: str, assistant: list[str]) -> None:
    dataset = setup.align([ROW], **info)
    assert turns(dataset) == [(user, assistant)]
    assert dataset[0]["_images"] == [str(setup.folder / "a.png")]
    assert [message["role"] for message in dataset[0]["_prompt"]] == ["user"]
    assert {message["role"] for message in dataset[0]["_response"]} == {"assistant"}


def test_multitask_writes_one_example_for_each_task_present(setup: FormatSetup) -> None:
    """Row 1 has all three; row 2 has no knowledge; row 3 has only an answer, the rest None, [] or blank."""
    rows = [
        ROW,
        ROW | {"id": "r2", "knowledge": None},
        ROW | {"id": "r3", "knowledge": [], "cot": None},
    ]
    dataset = setup.align(rows, target="multitask")
    columns = [json.loads(text) for text in dataset["_columns"]]
    assert [(column["id"], column["task"]) for column in columns] == [
        ("r1", "answer"),
        ("r1", "cot"),
        ("r1", "knowledge"),
        ("r2", "answer"),
        ("r2", "cot"),
        ("r3", "answer"),
    ]
    assert turns(dataset)[4] == (
        "<image>What does it eat?\nThink step by step.",
        ["It is a dax.\nA dax eats moss."],
    )
    assert dataset[4]["_source"].endswith("rows.json, row 2")


def test_every_other_field_is_carried(setup: FormatSetup) -> None:
    """All fields but the media come back as they were; what only other rows have, and None, does not appear."""
    rows = [
        ROW,
        {"question": "q", "images": [], "chosen": "c", "rejected": "r", "level": {"name": "hard"}, "other": 1},
    ]
    dataset = setup.align(rows, ranking=True)
    expected = {name: value for name, value in ROW.items() if name not in ("images", "choices")}
    assert json.loads(dataset[0]["_columns"]) == expected | {"task": "knowledge"}
    assert json.loads(dataset[1]["_columns"]) == {
        "question": "q",
        "chosen": "c",
        "rejected": "r",
        "level": {"name": "hard"},
        "other": 1,
        "task": "knowledge",
    }


def test_renamed_columns_are_carried_under_our_names(setup: FormatSetup) -> None:
    rows = [{"image": "a.png", "q": "What?", "facts": "one", "uid": 7, "note": "kept"}]
    columns = {"images": "image", "question": "q", "knowledge": "facts", "id": "uid"}
    dataset = setup.align(rows, target="knowledge", columns=columns)
    assert turns(dataset) == [("<image>What?\nWrite one fact that helps to answer.", ["one"])]
    assert json.loads(dataset[0]["_columns"]) == {
        "question": "What?",
        "knowledge": "one",
        "id": 7,
        "note": "kept",
        "task": "knowledge",
    }


def test_system_and_choices(setup: FormatSetup) -> None:
    dataset = setup.align([ROW | {"system": "Be kind.", "choices": ["moss", "tin"]}, ROW])
    assert dataset["_system"][:] == ["Be kind.", ""]
    assert turns(dataset)[0][0] == "<image>What does it eat?\nChoices: (A) moss (B) tin\nAnswer briefly."


def test_a_row_is_never_changed(setup: FormatSetup) -> None:
    """Also not the inner lists of a video given as frames, into which the host's own function writes."""
    row = ROW | {"videos": [["a.png", "a.png"]]}
    before = copy.deepcopy(row)
    converter = get_converters()["hindsight"](
        setup.attribute({"file_name": "x.json", "target": "multitask"}), setup.data_args
    )
    first, second = list(converter.examples(row))[:2]
    assert row == before
    assert converter(row) == first != second
    assert first["_videos"] == [[str(setup.folder / "a.png")] * 2]
    assert setup.align([row])[0]["_videos"] == [[str(setup.folder / "a.png")] * 2]


def test_text_rows_in_front_of_the_first_image(setup: FormatSetup) -> None:
    """`datasets` infers column types from the first 1,000 rows; the host's own formats fail here."""
    rows = [{"question": "q", "answer": "a"}] * 1200 + [ROW]
    dataset = setup.align([dict(row) for row in rows])
    assert dataset[0]["_images"] is None
    assert dataset[1200]["_images"] == [str(setup.folder / "a.png")]


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
@pytest.mark.parametrize("strategy", ["concat", "interleave_under"])
def test_merging_with_a_host_format(setup: FormatSetup, order: tuple[str, str], strategy: str) -> None:
    from llamafactory.data.data_utils import merge_dataset

    write_rows(setup.folder / "theirs.json", [{"instruction": "Say yes.", "input": "", "output": "yes"}])
    datasets = {
        "ours": setup.align([ROW]),
        "theirs": setup.align(None, file_name="theirs.json", formatting="alpaca"),
    }
    assert set(datasets["theirs"].column_names) == set(COLUMNS)
    setup.data_args.mix_strategy = strategy
    merged = merge_dataset([datasets[name] for name in order], setup.data_args, seed=1)
    by_user = {row["_prompt"][0]["content"]: row for row in merged}
    assert by_user["Say yes."]["_columns"] is None
    assert json.loads(by_user["<image>What does it eat?\nAnswer briefly."]["_columns"])["id"] == "r1"


def test_two_of_ours_with_different_columns_merge(setup: FormatSetup) -> None:
    from llamafactory.data.data_utils import merge_dataset

    other = ROW | {"level": "a text here, a struct there", "id": 5}
    datasets = [setup.align([ROW]), setup.align([other], file_name="other.json", target="cot")]
    merged = merge_dataset(datasets, setup.data_args, seed=1)
    assert [json.loads(text)["level"] for text in merged["_columns"]] == [ROW["level"], other["level"]]


def test_options_are_refused_all_at_once() -> None:
    info = {
        "tarket": "cot",
        "target": "facts",
        "ranking": "yes",
        "context": ["answers"],
        "columns": {"prompt": "q", "anwser": "a", "cot": ""},
        "file_name": "x.json",
        "note": "left alone",
    }
    with pytest.raises(ValueError) as error:
        read_options(info, name="mine")
    message = str(error.value)
    assert "dataset mine" in message
    assert "tarket: unknown key; did you mean `target`" in message
    assert "target: got 'facts', expected one of cot, knowledge, answer, multitask" in message
    assert "ranking: got 'yes'" in message
    assert "context: got ['answers']" in message
    assert "columns.prompt: unknown field; did you mean `question`" in message
    assert "columns.anwser: unknown field; did you mean `answer`" in message
    assert "columns.cot: got ''" in message
    assert "note" not in message


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"ranking": True, "target": "multitask"}, "a pair has one prompt"),
        ({"context": ["cot"], "target": "knowledge"}, "expected target 'answer'"),
        ({"context": ["cot"], "ranking": True}, "expected target 'answer'"),
        ({"columns": ["question"]}, "expected a mapping"),
        ({"skip_bad_rows": "no"}, "skip_bad_rows: got 'no', expected true or false"),
    ],
)
def test_options_that_contradict_each_other(info: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_options(info, name="mine")


def test_the_committed_samples_are_good(tmp_path: Path) -> None:
    """Every dataset of `data_info` aligns; together they hold two images in one row, a video and a row of text."""
    setup = FormatSetup(SAMPLES)
    setup.model_args.cache_dir = str(tmp_path)
    setup.training_args.output_dir = str(tmp_path)
    entries = json.loads((SAMPLES / "dataset_info.json").read_text())
    sizes = {
        name: len(setup.align(None, **info)) for name, info in entries.items() if info["formatting"] == "hindsight"
    }
    assert sizes == {
        "hindsight_sample": 6,
        "hindsight_sample_cot": 6,
        "hindsight_sample_answer": 6,
        "hindsight_sample_multitask": 18,
        "kepo_sample": 6,
    }
    pairs = setup.align(None, **entries["kepo_sample"])
    assert sorted(len(row["_images"] or []) for row in pairs) == [0, 0, 1, 1, 1, 2]
    assert sum(len(row["_videos"] or []) for row in pairs) == 1
    assert all(json.loads(text)["chosen_confidence"] < 0 for text in pairs["_columns"])
