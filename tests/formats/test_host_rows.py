"""Rows of the host's formats in our stages: each bad one is named, with the path of what is wrong, or left out and listed."""

from pathlib import Path
from typing import Any

import pytest

from llamafactory_hind.formats.align.tables import KIND_OF_ROWS
from llamafactory_hind.formats.problems import BadRowsError
from shared.formats import FormatSetup, picture, write_rows


USER, GPT = {"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes"}
SHAREGPT = {"formatting": "sharegpt", "columns": {"messages": "conversations", "images": "images", "tools": "tools"}}
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
OPENAI = {"formatting": "openai", "columns": {"messages": "messages"}, "tags": TAGS | {"system_tag": "system"}}
ALPACA = {"formatting": "alpaca", "columns": {"prompt": "instruction", "response": "output", "images": "images"}}


@pytest.fixture
def setup(tmp_path: Path):
    token = KIND_OF_ROWS.set("prompts")
    yield FormatSetup(tmp_path)
    KIND_OF_ROWS.reset(token)


def told(setup: FormatSetup, row: dict[str, Any], info: dict[str, Any]) -> str:
    write_rows(setup.folder / "rows.jsonl", [row])
    with pytest.raises(BadRowsError) as error:
        setup.align(None, file_name="rows.jsonl", **info)
    return str(error.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<|im_end|>", "field `conversations`: got '<|im_end|>', expected a list of turns"),
        ([], "field `conversations`: got []"),
        (["Is it?", "yes"], "field `conversations[0]`: got 'Is it?', expected an object"),
        ([{"from": "human", "text": "Is it?"}, GPT], "field `conversations[0].value`: got nothing, expected text"),
        ([USER, {**GPT, "from": "robot"}], "field `conversations[1].from`: got 'robot', expected one of human, gpt"),
        ([{**USER, "value": 7}, {**GPT, "value": 8}], "field `conversations[0].value`: got 7, expected text"),
        ([{**USER, "value": 7}, GPT], "field `conversations[1].value`: got 'yes', text, expected a number"),
        ([USER, USER], "field `conversations`: got roles in another order"),
        ([USER, GPT, USER], "field `conversations`: got roles in another order"),
    ],
)
def test_turns_of_sharegpt(setup: FormatSetup, value: Any, expected: str) -> None:
    message = told(setup, {"conversations": value, "images": None, "tools": None}, SHAREGPT)
    assert "rows.jsonl, row 1, " in message
    assert expected in message


@pytest.mark.parametrize(
    ("row", "info", "expected"),
    [
        ({"messages": [{"role": "user", "content": None}]}, OPENAI, "field `messages[0].content`: got nothing"),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}, OPENAI, "`messages[0].content`"),
        ({"instruction": 5, "output": "x", "images": None}, ALPACA, "field `instruction`"),
        ({"instruction": "a", "output": "x", "images": ["gone.png"]}, ALPACA, "field `images[0]`: got 'gone.png'"),
        ({"conversations": [USER, GPT], "images": ["gone.png"], "tools": None}, SHAREGPT, "field `images[0]`"),
        ({"conversations": [USER, GPT], "images": None, "tools": [1]}, SHAREGPT, "field `tools`: got [1]"),
    ],
)
def test_other_fields(setup: FormatSetup, row: dict[str, Any], info: dict[str, Any], expected: str) -> None:
    assert expected in told(setup, row, info)


def test_a_pair_without_one_of_its_answers(setup: FormatSetup) -> None:
    info = {**SHAREGPT, "ranking": True, "columns": {"messages": "conversations", "chosen": "good", "rejected": "bad"}}
    message = told(setup, {"conversations": [USER], "good": GPT, "bad": None}, info)
    assert "field `chosen, rejected`" in message or "roles in another order" in message


def test_bad_ones_are_left_out_and_listed(setup: FormatSetup) -> None:
    """Numbers are those of the file; the good ones are what the host makes of them."""
    setup.skip_bad_rows = setup.data_args.skip_bad_rows = True
    name = picture(setup.folder / "a.png")
    good = {"conversations": [{**USER, "value": "<image>Is it?"}, GPT], "images": [str(setup.folder / name)]}
    bad = [{"conversations": [USER, USER], "images": None}, {"conversations": [USER, GPT], "images": ["gone.png"]}]
    write_rows(setup.folder / "rows.jsonl", [bad[0], good, bad[1], good])
    rows = setup.align(
        None, file_name="rows.jsonl", **SHAREGPT | {"columns": {"messages": "conversations", "images": "images"}}
    )
    assert [row["_source"].rpartition(", ")[2] for row in rows] == ["row 2", "row 4"]
    assert rows[0]["_prompt"][0]["content"] == "<image>Is it?"
    assert [(entry["row"], entry["field"]) for entry in setup.skipped()] == [(1, "conversations"), (3, "images[0]")]


@pytest.mark.parametrize("info", [SHAREGPT, {"formatting": "rollout"}])
def test_where_no_row_can_be_read_each_is_named(setup: FormatSetup, info: dict[str, Any]) -> None:
    (setup.folder / "rows.jsonl").write_text('"a text"\n{"a": 1,}\n')
    with pytest.raises(BadRowsError, match="2 bad rows of 2") as error:
        setup.align(None, file_name="rows.jsonl", **info)
    assert "rows.jsonl, row 2" in str(error.value)
