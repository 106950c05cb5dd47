"""Text that a tokenizer takes for its own signs, in every field of a row, as the check and the tokenizer see it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llamafactory.data.template import TEMPLATES
from transformers import AddedToken, AutoTokenizer

from llamafactory_hind.formats.align.run import RUN, Run
from llamafactory_hind.formats.align.tables import KIND_OF_ROWS
from llamafactory_hind.formats.media.view import MediaView
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.texts.control_tokens import NO_CONTROLS, ControlTokens
from shared.formats import FormatSetup


HINDSIGHT = {
    "question": "What is it?",
    "answer": "moss",
    "choices": ["moss", "fern"],
    "system": "Be brief.",
    "cot": ["a", "b"],
}
ROLLOUT = {"prompt": "What is it?", "answer": "moss", "hint": "look left", "system": "Be brief."}


@pytest.fixture(scope="module")
def tokenizer(small_world: Path) -> Any:
    return AutoTokenizer.from_pretrained(small_world / "tiny")


@pytest.fixture
def run(tokenizer: Any) -> Any:
    """What the hook of `get_dataset` tells of a run whose template writes tools as ReAct does."""
    from llamafactory.data.formatter import ToolFormatter

    plugin = SimpleNamespace(image_token="<|image_pad|>", video_token="<|video_pad|>", audio_token=None)
    template = SimpleNamespace(mm_plugin=plugin, format_tools=ToolFormatter(tool_format="default"))
    token = RUN.set(Run(template, tokenizer, MediaView(), None))
    yield
    RUN.reset(token)


def test_the_signs_of_a_tokenizer(tokenizer: Any) -> None:
    plugin = SimpleNamespace(image_token="<|image_pad|>", video_token=None)
    controls = ControlTokens.of(tokenizer, SimpleNamespace(mm_plugin=plugin))
    assert {"<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|endoftext|>"} <= set(controls.tokens)
    assert not {"<image>", "<video>", "<audio>", ""} & set(controls.tokens)  # they have rules of their own
    assert controls.find("a <|im_en|> b <|im_end|") is None
    assert NO_CONTROLS.find("<|im_end|>") is None
    tokenizer.split_special_tokens = True
    assert ControlTokens.of(tokenizer) == NO_CONTROLS
    tokenizer.split_special_tokens = False


def test_what_a_template_writes_around_turns_is_a_sign() -> None:
    """DeepSeek-R1's tokenizer calls its mark of a user turn a word that was added, not special; `<think>` is the model's own."""
    user, assistant = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"
    words = [user, assistant, "<think>", "</think>", "<table>", "\n\n", "user", "<tool_call>"]
    added = {number: AddedToken(word, special=False) for number, word in enumerate(words)}
    tokenizer = SimpleNamespace(added_tokens_decoder=added, all_special_tokens=["<s>"], get_vocab=dict)
    controls = ControlTokens.of(tokenizer, TEMPLATES["deepseekr1"])
    assert set(controls.tokens) == {user, assistant, "<s>"}


def test_what_is_escaped_is_plain_text_for_the_tokenizer(tokenizer: Any) -> None:
    controls = ControlTokens.of(tokenizer)
    for token in controls.tokens:
        ids = tokenizer.encode(controls.escape(f"a {token}{token} b"), add_special_tokens=False)
        assert not set(ids) & set(tokenizer.all_special_ids), token
    assert controls.escape("x <|im_end|> y") == "x < |im_end|> y"
    assert controls.escape("nothing here") == "nothing here"


@pytest.mark.parametrize(
    ("formatting", "change", "field"),
    [
        ("hindsight", {"question": "What does <|image_pad|> mean?"}, "question"),
        ("hindsight", {"answer": "moss<|im_end|>"}, "answer"),
        ("hindsight", {"choices": ["moss", "<|im_start|>user"]}, "choices[1]"),
        ("hindsight", {"system": "<|im_end|>"}, "system"),
        (
            "hindsight",
            {"tools": '[{"name": "f", "description": "<|vision_start|>", "parameters": {"properties": {}}}]'},
            "tools",
        ),
        ("rollout", {"prompt": "Ignore <|endoftext|> this"}, "prompt"),
        ("rollout", {"hint": "see <|video_pad|>"}, "hint"),
        ("rollout", {"answer": "<|im_end|>"}, "answer"),
        (
            "rollout",
            {"prompt": None, "messages": [{"role": "user", "content": "a <|im_end|>"}]},
            "messages[0].content",
        ),
    ],
)
def test_a_control_token_makes_a_bad_row_in_every_field(
    tmp_path: Path, run: None, formatting: str, change: dict[str, Any], field: str
) -> None:
    good = HINDSIGHT if formatting == "hindsight" else ROLLOUT
    rows = [good | {"id": "1"}, good | {"id": "2"} | change]
    with pytest.raises(BadRowsError) as caught:
        FormatSetup(tmp_path).align(rows, formatting=formatting)
    (bad,) = caught.value.rows
    assert (bad.number, [problem.field for problem in bad.problems]) == (2, [field])
    assert "the control token '<|" in str(bad)
    setup = FormatSetup(tmp_path, skip_bad_rows=True)
    assert len(setup.align(None, formatting=formatting)) == 1
    assert [line["row"] for line in setup.skipped()] == [2]


CALL = {"type": "function", "function": {"name": "f", "arguments": '{"q": "a \\"b\\" <|im_end|>"}'}}
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


@pytest.mark.parametrize(
    ("formatting", "row", "field"),
    [
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b <|im_end|>"}]},
            "conversations[1].value",
        ),
        (
            "openai",
            {
                "messages": [
                    {"role": "user", "content": "a", "tool_calls": None},
                    {"role": "assistant", "content": "", "tool_calls": [CALL]},
                ]
            },
            "messages[1].tool_calls[0].function.arguments",
        ),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["c", "d <|im_end|>"]]}, "history[0][1]"),
    ],
)
def test_a_control_token_in_a_nested_field_of_the_hosts_rows_has_its_path(
    tmp_path: Path, run: None, formatting: str, row: dict[str, Any], field: str
) -> None:
    """What the host writes anew on its way into a turn (calls of tools become JSON) is still found in the row."""
    columns = {"alpaca": {"prompt": "instruction", "response": "output", "history": "history"}}
    info = {"columns": columns.get(formatting, {"messages": next(iter(row))})}
    info |= {"tags": TAGS | {"function_tag": "function"}} if formatting == "openai" else {}
    token = KIND_OF_ROWS.set("prompts")
    try:
        with pytest.raises(BadRowsError) as caught:
            FormatSetup(tmp_path).align([row], formatting=formatting, **info)
    finally:
        KIND_OF_ROWS.reset(token)
    assert [problem.field for problem in caught.value.rows[0].problems] == [field]


def test_columns_that_no_model_reads_may_hold_anything(tmp_path: Path, run: None) -> None:
    """A note, a name, and a text that is in no turn of this target; texts of other models are refused one by one."""
    odd = "<|im_end|>"
    external = [{"source": "x", "text": odd, "logprob": None}]
    assert len(
        FormatSetup(tmp_path).align([ROLLOUT | {"id": odd, "note": odd, "external": external}], formatting="rollout")
    )
    assert len(FormatSetup(tmp_path).align([HINDSIGHT | {"knowledge": odd}]))


def test_escaped_texts_are_trained_on_and_columns_stay(tmp_path: Path, run: None) -> None:
    setup = FormatSetup(tmp_path)
    setup.data_args.control_tokens = "escape"
    (row,) = setup.align([HINDSIGHT | {"question": "What is <|im_end|>?", "answer": "a <|im_end|>"}])
    assert "What is < |im_end|>?" in row["_prompt"][0]["content"]
    assert row["_response"][0]["content"] == "a < |im_end|>"
    assert "What is <|im_end|>?" in row["_columns"]


@pytest.mark.parametrize("tools", ["not json", "[1]", '{"a": 1}', '[{"description": "no name"}]'])
def test_tools_that_a_template_cannot_write_are_a_bad_row(tmp_path: Path, run: None, tools: str) -> None:
    with pytest.raises(BadRowsError, match=r"field `tools`: got .*, expected a JSON list of tools"):
        FormatSetup(tmp_path).align([HINDSIGHT | {"tools": tools}])
