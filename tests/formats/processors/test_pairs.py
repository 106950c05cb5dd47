"""`formats.processors.pairs`: the tokens of pairs are the host's, image tokens are never cut, columns come along."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.processor import PairwiseDatasetProcessor
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.processors.pairs import PairProcessor
from shared.formats import FormatSetup, write_rows


SAMPLES = Path(__file__).resolve().parents[3] / "data_info"


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    return FormatSetup(tmp_path)


def processors(world: Path, template: str, **data_args: Any) -> tuple[PairProcessor, PairwiseDatasetProcessor]:
    """Return ours and the host's, over the same tokenizer and template."""
    arguments = DataArguments(template=template, **data_args)
    modules = [load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny"))) for _ in range(2)]
    return tuple(
        kind(get_template_and_fix_tokenizer(module["tokenizer"], arguments), data_args=arguments, **module)
        for kind, module in zip((PairProcessor, PairwiseDatasetProcessor), modules, strict=True)
    )


def assert_equal_tokens(ours: dict[str, list], host: dict[str, list]) -> None:
    assert len(ours["prompt_input_ids"]) == len(host["chosen_input_ids"]) > 0
    for index, prompt in enumerate(ours["prompt_input_ids"]):
        for side in ("chosen", "rejected"):
            completion = ours[f"{side}_ids"][index]
            assert prompt + completion == host[f"{side}_input_ids"][index]
            assert [-100] * len(prompt) + completion == host[f"{side}_labels"][index]
    for kind in ("images", "videos", "audios"):
        assert ours[kind] == host[kind]


@pytest.mark.parametrize(
    "template",
    ["qwen2_vl", "dots_ocr", "mimo_vl", "keye_vl"],  # plain, efficient_eos, and two that add empty thoughts
)
def test_tokens_equal_the_hosts(small_world: Path, setup: FormatSetup, template: str) -> None:
    """Rows with one image, two images, a video and text alone; a thought in one answer; the placeholder in another."""
    aligned = setup.align(None, file_name="kepo_sample.json", ranking=True)
    examples = aligned[:]
    examples["_response"][0][1]["content"] = "<think>hm</think>no"
    examples["_system"][1] = "Be brief."
    ours, host = processors(small_world, template)
    assert_equal_tokens(ours.preprocess_dataset(examples), host.preprocess_dataset(examples))


@pytest.mark.parametrize("template", ["glm4", "glm4_moe", "llama2", "default"])
def test_text_templates(small_world: Path, setup: FormatSetup, template: str) -> None:
    """`glm4` has efficient_eos: the end token of both answers is the host's."""
    rows = [{"question": "Which one?", "chosen": "this", "rejected": "that one"}]
    examples = setup.align(rows, ranking=True)[:]
    ours, host = processors(small_world, template)
    assert_equal_tokens(ours.preprocess_dataset(examples), host.preprocess_dataset(examples))


@pytest.mark.parametrize("cutoff_len", [16, 24, 40, 64, 100])
def test_truncation_of_text_is_the_hosts(small_world: Path, setup: FormatSetup, cutoff_len: int) -> None:
    """Long prompt, long answers, both, neither: every branch of the host's rule."""
    rows = [
        {"question": "why " * question, "chosen": "yes " * chosen, "rejected": "no " * rejected}
        for question, chosen, rejected in ((60, 2, 3), (2, 70, 5), (2, 5, 70), (60, 60, 60), (1, 1, 1))
    ]
    examples = setup.align(rows, ranking=True)[:]
    ours, host = processors(small_world, "qwen2_vl", cutoff_len=cutoff_len)
    found = ours.preprocess_dataset(examples)
    assert_equal_tokens(found, host.preprocess_dataset(examples))
    assert max(len(ids) for ids in found["prompt_input_ids"]) <= cutoff_len


@pytest.mark.parametrize("kind", ["image", "video"])
def test_media_tokens_are_never_cut(small_world: Path, setup: FormatSetup, kind: str) -> None:
    """The named `cutoff_len` is the smallest that keeps all pads: one less is refused and asks for the same."""
    row = {"id": "long", "question": "and what comes then? " * 20, "chosen": "c " * 30, "rejected": "r"}
    row |= {"images": ["samples/fish.png"]} if kind == "image" else {"videos": ["samples/ball.mp4"]}
    examples = setup.align([row], ranking=True)[:]
    pad = processors(small_world, "qwen2_vl")[0].tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>")
    whole = processors(small_world, "qwen2_vl", cutoff_len=4000)[0].preprocess_dataset(examples)["prompt_input_ids"][0]
    with pytest.raises(BadRowsError) as error:
        processors(small_world, "qwen2_vl", cutoff_len=16)[0].preprocess_dataset(examples)
    message = str(error.value)
    assert "rows.json, row 1, field `cutoff_len`: got 16, which keeps " in message
    assert "skip_bad_rows" in message
    needed = int(message.split("set `cutoff_len: ")[1].split("`")[0])
    fitting = processors(small_world, "qwen2_vl", cutoff_len=needed)[0].preprocess_dataset(examples)
    assert fitting["prompt_input_ids"][0].count(pad) == whole.count(pad) > 0
    assert len(fitting["prompt_input_ids"][0]) < len(whole)
    with pytest.raises(BadRowsError, match=f"set `cutoff_len: {needed}`"):
        processors(small_world, "qwen2_vl", cutoff_len=needed - 1)[0].preprocess_dataset(examples)


@pytest.mark.parametrize("by", ["dataset", "run"])
def test_rows_that_do_not_fit_are_skipped_when_asked(small_world: Path, setup: FormatSetup, by: str) -> None:
    """Of six samples the five with media do not fit into 16 tokens."""
    info = {"skip_bad_rows": True} if by == "dataset" else {}
    examples = setup.align(None, file_name="kepo_sample.json", ranking=True, **info)[:]
    ours, _ = processors(small_world, "qwen2_vl", cutoff_len=16)
    if by == "run":
        ours.data_args.skip_bad_rows = True
    found = ours.preprocess_dataset(examples)
    assert [json.loads(columns)["id"] for columns in found["columns"]] == ["sample-6"]
    listed = setup.skipped("kepo_sample.cutoff_16")
    if by == "run":  # these rows were aligned without: the processor knows no folder
        assert not listed
    else:
        assert [line["row"] for line in listed] == [1, 2, 3, 4, 5]
        assert listed[0]["file"].endswith("kepo_sample.json")
        assert listed[0]["field"] == "cutoff_len"
        ours.preprocess_dataset(examples)
        assert len(setup.skipped("kepo_sample.cutoff_16")) == 5


def test_columns_and_the_printed_example(small_world: Path, setup: FormatSetup, capsys: pytest.CaptureFixture) -> None:
    examples = setup.align(None, file_name="kepo_sample.json", ranking=True)[:]
    ours, _ = processors(small_world, "qwen2_vl")
    found = ours.preprocess_dataset(examples)
    assert set(found) == {
        *(
            "prompt_input_ids",
            "chosen_ids",
            "rejected_ids",
            "images",
            "videos",
            "audios",
            "columns",
            "place",
            "side_file",
        ),
    }
    columns = json.loads(found["columns"][0])
    assert (columns["id"], columns["chosen_confidence"], columns["helpfulness"]) == ("sample-1", -2.31, 1.42)
    ours.print_data_example({name: values[0] for name, values in found.items()})
    printed = capsys.readouterr().out
    assert "Fish take oxygen out of water with their gills.<|im_end|>" in printed
    assert "Fish come to the surface" in printed
    assert "sample-1" in printed


def test_ranking_rows_of_the_hosts_formats(small_world: Path, setup: FormatSetup) -> None:
    """Alpaca and sharegpt pairs have no `_columns`; a pair without a rejected answer is dropped as the host does."""
    alpaca = [{"instruction": "Is it?", "input": "", "chosen": "yes", "rejected": "no"}]
    write_rows(setup.folder / "alpaca.json", alpaca)
    turns = [{"from": "human", "value": "<image>Is it?"}]
    sharegpt = {
        "conversations": turns,
        "images": [str(SAMPLES / "samples" / "sun.png")],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    }
    write_rows(setup.folder / "sharegpt.json", [sharegpt])
    sides = {"chosen": "chosen", "rejected": "rejected"}
    columns = {
        "alpaca": {"prompt": "instruction", "query": "input", **sides},
        "sharegpt": {"messages": "conversations", "images": "images", **sides},
    }
    for name in ("alpaca", "sharegpt"):
        info = {"file_name": f"{name}.json", "formatting": name, "ranking": True, "columns": columns[name]}
        examples = setup.align(None, **info)[:]
        ours, host = processors(small_world, "qwen2_vl")
        found = ours.preprocess_dataset(examples)
        assert found["columns"] == ["{}"]
        assert_equal_tokens(found, host.preprocess_dataset(examples))
        examples["_response"] = [examples["_response"][0][:1]]
        assert not ours.preprocess_dataset(examples)
