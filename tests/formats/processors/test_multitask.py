"""`formats.processors.multitask`: every text of a row is the host's own, media are opened once a row and never cut."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.processor import SupervisedDatasetProcessor
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.formats.align.tables import KIND_OF_ROWS
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.processors.media_tokens import derive
from llamafactory_hind.formats.processors.multitask import MultitaskProcessor
from shared.formats import FormatSetup


SAMPLES = Path(__file__).resolve().parents[3] / "data_info"
ROWS = [
    {"id": "a", "images": ["samples/fish.png"], "question": "What is it?", "answer": "a fish", "cot": ["It has fins.", "So a fish."]},
    {"id": "b", "images": ["samples/fish.png", "samples/sun.png"], "question": "Which shines?", "answer": "two", "knowledge": "A sun."},
    {"id": "c", "videos": ["samples/ball.mp4"], "question": "What bounces? <video> Say it.", "answer": "ball", "cot": "It is round."},
    {"id": "d", "question": "Is water wet?", "cot": "Water wets.", "knowledge": ["Wet is wet.", "Yes."], "choices": ["yes", "no"]},
    {"id": "e", "question": "Is fire hot?", "answer": "yes"},
]  # fmt: skip
TASKS = [["answer", "cot"], ["answer", "knowledge"], ["answer", "cot"], ["cot", "knowledge"], ["answer"]]


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    return FormatSetup(tmp_path)


def aligned(setup: FormatSetup, rows: list[dict] | None, *, joined: bool, **info: Any) -> dict[str, list]:
    """Align rows as a stage of ours that learns tasks together asks for, or as the host's `sft` does."""
    token = KIND_OF_ROWS.set("multitask" if joined else None)
    try:
        return setup.align(rows, target="multitask", **info)[:]
    finally:
        KIND_OF_ROWS.reset(token)


def processors(world: Path, template: str = "qwen2_vl", **data_args: Any) -> tuple[MultitaskProcessor, Any]:
    """Return ours and the host's, over the same tokenizer and template."""
    arguments = DataArguments(template=template, **data_args)
    modules = [load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny"))) for _ in range(2)]
    return tuple(
        kind(get_template_and_fix_tokenizer(module["tokenizer"], arguments), data_args=arguments, **module)
        for kind, module in zip((MultitaskProcessor, SupervisedDatasetProcessor), modules, strict=True)
    )


def texts(found: dict[str, list]) -> list[tuple[list[int], list[int]]]:
    """Return ids and labels of every text of processed rows, in order."""
    split = []
    for row, lengths in enumerate(found["lengths"]):
        start = 0
        for length in lengths:
            split.append(tuple(list(found[name][row][start : start + length]) for name in ("input_ids", "labels")))
            start += length
        assert start == len(found["input_ids"][row]) == len(found["labels"][row])
    return split


@pytest.mark.parametrize("template", ["qwen2_vl", "dots_ocr", "mimo_vl", "keye_vl"])
def test_every_text_is_the_hosts(small_world: Path, setup: FormatSetup, template: str) -> None:
    """Rows with one picture, two, a clip whose placeholder stands inside the question, and none; two tasks or one."""
    ours, host = processors(small_world, template)
    found = ours.preprocess_dataset(aligned(setup, ROWS, joined=True))
    expected = host.preprocess_dataset(aligned(setup, ROWS, joined=False))
    assert found["tasks"] == TASKS
    assert texts(found) == list(zip(expected["input_ids"], expected["labels"], strict=True))
    assert [json.loads(columns)["id"] for columns in found["columns"]] == list("abcde")
    assert found["images"][1] == expected["images"][2]


@pytest.mark.parametrize("cutoff_len", [24, 40, 64])
def test_texts_are_cut_as_the_host_cuts_them(small_world: Path, setup: FormatSetup, cutoff_len: int) -> None:
    rows = [
        {"question": "why " * 30, "answer": "so", "cot": "since " * 40},
        {"question": "w", "answer": "so", "cot": "a"},
    ]
    ours, host = processors(small_world, cutoff_len=cutoff_len)
    found = ours.preprocess_dataset(aligned(setup, rows, joined=True))
    expected = host.preprocess_dataset(aligned(setup, rows, joined=False))
    assert texts(found) == list(zip(expected["input_ids"], expected["labels"], strict=True))
    assert max(len(ids) for ids, _ in texts(found)) == cutoff_len


def test_media_of_a_row_are_opened_once(
    small_world: Path, setup: FormatSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = aligned(setup, ROWS, joined=True)
    ours, _ = processors(small_world)
    plugin, calls = type(ours.template.mm_plugin), []
    expand = plugin.process_messages
    monkeypatch.setattr(plugin, "process_messages", lambda *args: calls.append(args) or expand(*args))
    ours.preprocess_dataset(examples)
    assert len(calls) == len(ROWS) < sum(map(len, TASKS))


def test_media_are_expanded_again_where_texts_differ_before_them() -> None:
    """Known `a<image>b` -> `aXXb`: only a text that differs behind its last placeholder follows from it."""

    def turns(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    known, expanded = turns("a<image>b"), turns("aXXb")
    assert derive(turns("a<image>c"), known, expanded) == turns("aXXc")
    assert derive(turns("a<image>"), known, expanded) == turns("aXX")
    assert derive(turns("c<image>b"), known, expanded) is None
    assert derive(turns("a<image>b<image>"), known, expanded) is None
    assert derive([*turns("a<image>b"), *turns("c")], known, expanded) is None
    assert (
        derive(turns("a<image>c <box:0:1,2,3,4:cat>"), known, expanded) is None
    )  # to be written in the model's terms


def test_media_tokens_are_never_cut(small_world: Path, setup: FormatSetup) -> None:
    """The named `cutoff_len` keeps the row whole; a little less is refused only where it takes media away."""
    rows = [
        {"id": "long", "images": ["samples/fish.png"], "question": "and then? " * 9, "answer": "b", "cot": "c " * 30}
    ]
    examples = aligned(setup, rows, joined=True)
    whole = texts(processors(small_world, cutoff_len=4000)[0].preprocess_dataset(examples))
    with pytest.raises(BadRowsError) as error:
        processors(small_world, cutoff_len=16)[0].preprocess_dataset(examples)
    message = str(error.value)
    assert "rows.json, row 1, field `cutoff_len`: got 16, which keeps " in message
    needed = int(message.split("set `cutoff_len: ")[1].split("`")[0])
    assert needed == max(len(ids) for ids, _ in whole)
    assert texts(processors(small_world, cutoff_len=needed)[0].preprocess_dataset(examples)) == whole
    shorter = texts(processors(small_world, cutoff_len=needed - 10)[0].preprocess_dataset(examples))
    assert max(len(ids) for ids, _ in shorter) == needed - 10
    skipping = processors(small_world, cutoff_len=16)[0]
    skipping.data_args.skip_bad_rows = True
    assert not skipping.preprocess_dataset(examples)


def test_rows_of_the_hosts_formats_are_answers(small_world: Path, setup: FormatSetup, capsys) -> None:
    """Two turns of the user; the printed example names its task and what is learnt."""
    examples = {
        "_prompt": [
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
        ],
        "_response": [[{"role": "assistant", "content": "d"}]],
        **{
            name: [None]
            for name in ("_system", "_tools", "_images", "_videos", "_audios", "images", "videos", "audios")
        },
    }
    ours, host = processors(small_world)
    found, expected = ours.preprocess_dataset(examples), host.preprocess_dataset(examples)
    assert found["tasks"] == [["answer"]]
    assert texts(found) == list(zip(expected["input_ids"], expected["labels"], strict=True))
    assert json.loads(found["columns"][0]) == {"answer": "d"}
    ours.print_data_example({name: values[0] for name, values in found.items()})
    assert "answer, labels:\nb<|im_end|>\nd<|im_end|>" in capsys.readouterr().out
