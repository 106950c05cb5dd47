"""`formats.rollout.converter` and `formats.processors.prompts`: what becomes of a good row, what a bad one is told, and the tokens of `sft`."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.processor import DatasetProcessor, SupervisedDatasetProcessor, UnsupervisedDatasetProcessor
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.formats import get_converters
from llamafactory_hind.formats.media.check import MediaCheck
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.processors.prompts import PromptProcessor
from llamafactory_hind.formats.rollout.rows import read_options
from llamafactory_hind.rewards import load_rewards
from shared.formats import FormatSetup, picture, write_rows
from shared.warm import Processes


SAMPLES = Path(__file__).resolve().parents[3] / "data_info"
ROW = {
    "id": "r1",
    "images": ["a.png"],
    "prompt": "How many red things are there?",
    "answer": "2",
    "external": [{"source": "auxiliary", "text": "<think>x</think><answer>2</answer>", "logprob": -3.5}],
    "hint": None,
    "objects": [{"color": "red", "box": [1, 2, 3, 4]}, {"color": "blue"}],
}


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", color="blue")
    return FormatSetup(tmp_path)


@pytest.fixture
def samples(tmp_path: Path) -> FormatSetup:
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    return FormatSetup(tmp_path)


def align(setup: FormatSetup, rows: Any, **info: Any) -> Any:
    return setup.align(rows, **({"formatting": "rollout"} | info))


def processors(world: Path, **data_args: Any) -> tuple[PromptProcessor, DatasetProcessor, DatasetProcessor]:
    """Return ours and those of the host's sft, for training and for prediction, over the same tokenizer and template."""
    arguments = DataArguments(**({"template": "qwen2_vl"} | data_args))
    kinds = (PromptProcessor, SupervisedDatasetProcessor, UnsupervisedDatasetProcessor)
    modules = [load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny"))) for _ in kinds]
    return tuple(
        kind(get_template_and_fix_tokenizer(module["tokenizer"], arguments), data_args=arguments, **module)
        for kind, module in zip(kinds, modules, strict=True)
    )


def test_a_row_becomes_a_prompt_with_everything_else_beside_it(setup: FormatSetup) -> None:
    (found,) = align(setup, [ROW])
    assert found["_prompt"] == [{"role": "user", "content": "<image>How many red things are there?"}]
    assert found["_response"] == [{"role": "assistant", "content": "2"}]
    assert found["_images"] == [str(setup.folder / "a.png")]
    assert (found["_system"], found["_tools"], found["_source"]) == ("", "", f"{setup.folder}/rows.json, row 1")
    columns = json.loads(found["_columns"])
    expected = {key: value for key, value in ROW.items() if key != "images"}
    assert columns == expected | {"images": None} or columns == expected
    assert (
        columns["hint"] is None
    )  # a null stays: a reward takes it for "does not apply", a missing column for an error


def test_the_converter_leaves_its_row_alone(setup: FormatSetup) -> None:
    attribute = setup.attribute({"file_name": "rows.json", "formatting": "rollout"})
    converter = get_converters()["rollout"](attribute, setup.data_args)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    for row in (ROW, {"messages": messages, "images": ["a.png"]}):
        row = copy.deepcopy(row)
        before = copy.deepcopy(row)
        first, second = converter(row), converter(row)
        assert first == second
        assert row == before


def test_turns(setup: FormatSetup) -> None:
    """A system turn becomes the system text; without placeholders, media stand in front of the first turn."""
    rows = [
        {
            "images": ["a.png", "b.png"],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": "And two?"},
            ],
        },
        {
            "images": ["a.png", "b.png"],
            "messages": [
                {"role": "user", "content": "One <image>?"},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": "And <image>?"},
            ],
        },
    ]
    first, second = align(setup, rows)
    assert first["_system"] == "Be brief."
    assert [turn["content"] for turn in first["_prompt"]] == ["<image><image>One?", "Yes.", "And two?"]
    assert [turn["content"] for turn in second["_prompt"]] == ["One <image>?", "Yes.", "And <image>?"]
    assert [turn["role"] for turn in second["_prompt"]] == ["user", "assistant", "user"]
    assert second["_response"] == []  # no answer


def test_renamed_columns(setup: FormatSetup) -> None:
    row = {"problem": "How many?", "solution": 3, "image": "a.png", "key": 7}
    columns = {"prompt": "problem", "answer": "solution", "images": "image", "id": "key"}
    (found,) = align(setup, [row], columns=columns)
    assert found["_prompt"][0]["content"] == "<image>How many?"
    assert found["_response"][0]["content"] == "3"
    assert {"prompt": "How many?", "answer": 3, "id": 7}.items() <= json.loads(found["_columns"]).items()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": None}, "field `prompt, messages`: got nothing, expected one of the two"),
        ({"prompt": "  "}, "field `prompt, messages`: got nothing"),
        ({"messages": [{"role": "user", "content": "x"}]}, "field `prompt, messages`: got both"),
        ({"prompt": ["x"]}, "field `prompt`: got ['x'], expected non-empty text"),
        ({"prompt": "a <image> b <image>"}, "field `prompt`: got 2 <image> in the text and 1 entries in `images`"),
        ({"prompt": "a <video>"}, "got 1 <video> in the text and 0 entries in `videos`"),
        ({"images": ["gone.png"]}, "field `images[0]`: got"),
        ({"system": 3}, "field `system`: got 3, expected text"),
        ({"hint": ["x"]}, "field `hint`: got ['x'], expected text"),
        ({"hint": "look at <image>"}, "field `hint`: got 'look at <image>', expected text without media placeholders"),
        ({"external": "text"}, "field `external`: got 'text', expected a list of texts of other models"),
        ({"external": ["text"]}, "field `external[0]`: got 'text'"),
        ({"external": [{"source": "a", "text": ""}]}, "field `external[0].text`: got '', expected non-empty text"),
        ({"external": [{"text": "x"}]}, "field `external[0].source`: got nothing"),
        ({"external": [{"source": "a", "text": "<image>"}]}, "field `external[0].text`: got '<image>'"),
        ({"external": [{"source": "a", "text": "x", "logprob": 0.5}]}, "field `external[0].logprob`: got 0.5"),
        ({"external": [{"source": "a", "text": "x", "logprob": "low"}]}, "field `external[0].logprob`: got 'low'"),
    ],
)
def test_bad_rows_name_file_row_and_field(setup: FormatSetup, change: dict, said: str) -> None:
    """Rows as the converter sees them: some could not even be written beside good ones, `datasets` wants one type a column."""
    attribute = setup.attribute({"file_name": "rows.json", "formatting": "rollout"})
    converter = get_converters()["rollout"](attribute, setup.data_args)
    problems = [str(problem) for problem in converter.problems(ROW | change, MediaCheck())]
    assert any(said in problem for problem in problems), problems
    assert not list(converter.problems(ROW, MediaCheck()))
    write_rows(setup.folder / "rows.json", [ROW | change])
    with pytest.raises(BadRowsError) as error:
        align(setup, None)
    assert f"{setup.folder}/rows.json, row 1, " in str(error.value)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "assistant", "content": "x"}], "field `messages[0].role`: got 'assistant', expected role 'user'"),
        ([{"role": "user", "content": "x"}] * 2, "field `messages[1].role`: got 'user', expected role 'assistant'"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "field `messages`: got 2 turns, expected a user turn at the end",
        ),
        ([{"role": "system", "content": "x"}], "field `messages`: got 1 turns, expected a user turn at the end"),
        ([{"role": "user", "content": None}], "field `messages[0].content`: got nothing, expected non-empty text"),
    ],
)
def test_bad_turns(setup: FormatSetup, messages: list, said: str) -> None:
    with pytest.raises(BadRowsError) as error:
        align(setup, [{"id": 1, "messages": [{"role": "user", "content": "good"}]}, {"id": 2, "messages": messages}])
    assert f"rows.json, row 2, {said}" in str(error.value)


def test_bad_rows_are_skipped_when_asked(setup: FormatSetup) -> None:
    rows = [ROW, ROW | {"id": "r2", "images": ["gone.png"]}, ROW | {"id": "r3", "prompt": None}, ROW | {"id": "r4"}]
    found = align(setup, rows, skip_bad_rows=True)
    assert [json.loads(text)["id"] for text in found["_columns"]] == ["r1", "r4"]
    assert [(line["row"], line["field"]) for line in setup.skipped()] == [(2, "images[0]"), (3, "prompt, messages")]


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"column": {}}, "column: unknown key; did you mean `columns`"),
        ({"columns": {"question": "q"}}, "columns.question: unknown field"),
        ({"columns": {"prompt": 3}}, "columns.prompt: got 3, expected the name of a column"),
        ({"columns": ["prompt"]}, "expected a mapping"),
        ({"ranking": True}, "rollouts use prompts, not pairs"),
        ({"skip_bad_rows": 1}, "skip_bad_rows: got 1, expected true or false"),
    ],
)
def test_wrong_options(info: dict, said: str) -> None:
    with pytest.raises(ValueError, match="dataset mine") as error:
        read_options({"file_name": "x.json", "formatting": "rollout"} | info, name="mine")
    assert said in str(error.value)


@pytest.mark.parametrize("template", ["qwen2_vl", "dots_ocr", "mimo_vl", "keye_vl"])
def test_prompts_are_the_tokens_of_sft(small_world: Path, samples: FormatSetup, template: str) -> None:
    """Rows with one image, two images, a video, text alone and several turns: those of sft's prediction, and where sft trains.

    Between earlier turns, sft's training writes thoughts that its prediction does not write: the last two templates think.
    """
    examples = align(samples, None, file_name="rollout_sample.json")[:]
    ours, training, prediction = processors(small_world, template=template, cutoff_len=100_000)
    found = ours.preprocess_dataset(examples)
    predicted = prediction.preprocess_dataset(copy.deepcopy(examples))
    assert found["prompt_input_ids"] == predicted["input_ids"]
    trained = training.preprocess_dataset(copy.deepcopy(examples))
    assert len(found["prompt_input_ids"]) == len(trained["input_ids"]) == 6
    for index, prompt in enumerate(found["prompt_input_ids"]):
        if template in ("qwen2_vl", "dots_ocr") or len(examples["_prompt"][index]) == 1:
            assert trained["input_ids"][index][: len(prompt)] == prompt
            assert trained["labels"][index][len(prompt) - 1] == -100
            assert trained["labels"][index][len(prompt)] != -100
    for kind in ("images", "videos", "audios"):
        assert found[kind] == trained[kind]


def test_features(small_world: Path, samples: FormatSetup, capsys: pytest.CaptureFixture) -> None:
    examples = align(samples, None, file_name="rollout_sample.json")[:]
    ours = processors(small_world)[0]
    found = ours.preprocess_dataset(examples)
    assert set(found) == {
        "prompt_input_ids",
        "images",
        "videos",
        "audios",
        "columns",
        "row_id",
        "place",
        "side_file",
        "conversation",
    }
    assert found["row_id"] == [f"rollout-{number}" for number in range(1, 7)]
    columns = json.loads(found["columns"][0])
    assert columns["external"] == [
        {"source": "auxiliary", "text": "<think>It has fins and gills.</think><answer>fish</answer>", "logprob": -9.5},
        {"source": "second", "text": "<think>It swims.</think><answer>whale</answer>"},
    ]
    assert (columns["answer"], columns["hint"], len(columns["answers"])) == ("fish", "It has gills.", 10)
    ours.print_data_example({name: values[0] for name, values in found.items()})
    printed = capsys.readouterr().out
    assert "What is this animal?" in printed
    assert "rollout-1" in printed


def test_a_prompt_that_does_not_fit_is_a_bad_row(small_world: Path, samples: FormatSetup) -> None:
    """Never cut: the `cutoff_len` that the error names is enough, and one less is not."""
    examples = align(samples, None, file_name="rollout_sample.json")[:]
    longest = max(len(ids) for ids in processors(small_world)[0].preprocess_dataset(examples)["prompt_input_ids"])
    with pytest.raises(BadRowsError) as error:
        processors(small_world, cutoff_len=longest - 1)[0].preprocess_dataset(examples)
    message = str(error.value)
    assert "rollout_sample.json, row " in message
    assert f"set `cutoff_len: {longest}` or more" in message
    assert len(processors(small_world, cutoff_len=longest)[0].preprocess_dataset(examples)["row_id"]) == 6
    examples = align(samples, None, file_name="rollout_sample.json", skip_bad_rows=True)[:]
    kept = processors(small_world, cutoff_len=longest - 1)[0].preprocess_dataset(examples)["row_id"]
    assert len(kept) == 5
    (line,) = samples.skipped(f"rollout_sample.cutoff_{longest - 1}")
    assert line["field"] == "cutoff_len"
    assert line["content"]["id"] not in kept


def test_hindsight_rows_and_the_hosts_formats_are_prompts_too(small_world: Path, samples: FormatSetup) -> None:
    ours = processors(small_world)[0]
    found = ours.preprocess_dataset(samples.align(None, file_name="hindsight_sample.json")[:])
    assert found["row_id"] == [f"sample-{number}" for number in range(1, 7)]
    assert json.loads(found["columns"][0])["answer"] == "gills"
    assert json.loads(found["columns"][0])["answers"][8:] == ["its gills", "its gills"]
    write_rows(samples.folder / "alpaca.json", [{"instruction": "Is it?", "input": "", "output": "yes"}])
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    info = {"file_name": "alpaca.json", "formatting": "alpaca", "columns": columns}
    found = ours.preprocess_dataset(samples.align(None, **info)[:])
    assert json.loads(found["columns"][0]) == {"answer": "yes"}
    assert len(found["row_id"][0]) == 16


def test_escaped_rows_of_the_hosts_formats_keep_their_answers(small_world: Path, samples: FormatSetup) -> None:
    """The answer is for rewards, the prompt for the model: only the prompt is escaped."""
    write_rows(
        samples.folder / "alpaca.json", [{"instruction": "a <|im_end|> b", "input": "", "output": "<|im_end|>"}]
    )
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    info = {"file_name": "alpaca.json", "formatting": "alpaca", "columns": columns}
    ours = processors(small_world)[0]
    ours.data_args.control_tokens = "escape"
    found = ours.preprocess_dataset(samples.align(None, **info)[:])
    assert json.loads(found["columns"][0]) == {"answer": "<|im_end|>"}
    assert "a < |im_end|> b" in ours.tokenizer.decode(found["prompt_input_ids"][0])


def test_rows_without_id_are_named_by_their_place(small_world: Path, setup: FormatSetup) -> None:
    rows = [{"prompt": "One?"}, {"prompt": "Two?"}]
    found = processors(small_world)[0].preprocess_dataset(align(setup, rows)[:])
    assert found["row_id"] == ["rows.json, row 1", "rows.json, row 2"]


GET_DATASET = """
import json, sys
from pathlib import Path
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from transformers import Seq2SeqTrainingArguments
folder, model, out, datasets = sys.argv[1:]
model_args = ModelArguments(model_name_or_path=model, cache_dir=out + "/cache")
training_args = Seq2SeqTrainingArguments(output_dir=out, use_cpu=True, report_to=[], max_steps=1, dataloader_num_workers=1)
module = load_tokenizer(model_args)
pads = {name: module["tokenizer"].convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
for streaming in (False, True):
    data_args = DataArguments(
        template="qwen2_vl", dataset=datasets, dataset_dir=folder, streaming=streaming, buffer_size=1,
        cutoff_len=4000)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    for row in get_dataset(template, model_args, data_args, training_args, stage="grpo", **module)["train_dataset"]:
        columns = json.loads(row["columns"])
        found = {
            "id": row["row_id"], "answer": columns.get("answer"), "external": columns.get("external"), "names": sorted(row),
            "media": [len(row[kind] or []) for kind in ("images", "videos")],
            "pads": [row["prompt_input_ids"].count(pad) > 0 for pad in pads.values()],
        }
        print("RESULT", json.dumps(found))
"""


def get_dataset_rows(folder: Path, model: Path, out: Path, datasets: str) -> list[dict[str, Any]]:
    """Load datasets with the host's `get_dataset`, plain and streaming, in a process where our hooks are installed."""
    said = Processes(GET_DATASET, [str(folder), str(model), str(out), datasets], out / "log").finish()
    return [json.loads(found) for found in re.findall("^RESULT (.*)$", said, re.MULTILINE)]


@pytest.mark.slow
def test_get_dataset_with_images_video_and_text_alone(small_world: Path, tmp_path: Path) -> None:
    found = get_dataset_rows(SAMPLES, small_world / "tiny", tmp_path, "rollout_sample,hindsight_sample_answer")
    assert len(found) == 2 * 12
    once = {row["id"]: row for row in found[:12]}
    assert {row["id"]: row for row in found[12:]} == once
    assert once["rollout-1"]["names"] == [
        *("audios", "columns", "conversation", "images", "place", "prompt_input_ids", "row_id", "side_file", "videos")
    ]
    media = {row: once[row]["media"] for row in once if row.startswith("rollout")}
    assert list(media.values()) == [[1, 0], [1, 0], [2, 0], [1, 0], [0, 1], [0, 0]]
    assert all(row["pads"] == [count > 0 for count in row["media"]] for row in found)
    assert once["sample-1"]["answer"] == "gills"


@pytest.mark.slow
def test_the_rows_of_the_offline_world(small_world: Path, tmp_path: Path) -> None:
    """`counting` and `transformation` are written with `formatting: rollout`; every row scores 1 for its own answer."""
    found = get_dataset_rows(small_world, small_world / "tiny", tmp_path, "counting,transformation")
    rows = found[: len(found) // 2]
    assert {tuple(row["media"]) for row in rows} == {(1, 0), (2, 0)}
    assert all(row["external"][0]["source"] == "auxiliary" for row in rows)
    answers = {"answer": [row["answer"] for row in rows]}
    completions = [f"<think>x</think><answer>{row['answer']}</answer>" for row in rows]
    scored = load_rewards(["accuracy", "format"], None, timeout=60).score(completions, answers)
    assert scored.total == [2.0] * len(rows)
    moved = [row for row in rows if row["media"] == [2, 0]]
    texts = [row["external"][0]["text"] for row in moved]
    trance = (
        load_rewards(["trance"], None, timeout=60).score(texts, {"answer": [row["answer"] for row in moved]}).total
    )
    assert max(trance) == 1.0
    assert all(0.0 <= reward <= 1.0 for reward in trance)
