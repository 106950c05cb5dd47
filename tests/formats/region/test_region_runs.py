"""`region` rows on their way: tokens of our stages and the host's, the reward in original pixels, chat, real runs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.processor import PairwiseDatasetProcessor, SupervisedDatasetProcessor
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image

from llamafactory_hind.engines.interface import Prompt, Request
from llamafactory_hind.engines.local.weights import load_weights
from llamafactory_hind.engines.server.protocol import build_messages
from llamafactory_hind.formats.media.drawn import draw_if_asked
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.processors.pairs import PairProcessor
from llamafactory_hind.formats.processors.prompts import PromptProcessor
from llamafactory_hind.methods.external.actions import ActionReader
from llamafactory_hind.methods.hints.prompts import HintPrompts, hinted_prompt_of
from llamafactory_hind.rewards import load_rewards
from llamafactory_hind.trainers.rollouts.records import Rollout
from shared.formats import FormatSetup
from shared.stages import BASE, TRAIN, command, history, written
from shared.warm import Processes


WIDE = (1920, 822)  # the host feeds it as 1176 x 504: a box in original pixels would be off by 40 %
BOX, OTHER = [960, 411, 1440, 548], [0, 0, 480, 274]
AS_FED, OTHER_AS_FED = "[588, 252, 882, 336]", "[0, 0, 294, 168]"  # times 1176 / 1920, 504 / 822
ROW = {
    "images": ["wide.png"],
    "regions": [{"image": 0, "box": BOX, "label": "dog"}, {"image": 0, "box": OTHER}],
    "question": "What is beside <region:1>?",
    "answer": "It is <region:0>.",
    "external": [{"source": "other", "text": "<answer><region:0></answer>"}],
    "chosen": "Yes.",
    "rejected": "See <region:1>.",
}


def test_the_samples_of_the_repository(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "data_info", tmp_path, dirs_exist_ok=True)
    setup = FormatSetup(tmp_path)
    setup.data_args.template = "qwen2_vl_region"
    info = {"file_name": "region_sample.json", "formatting": "region"}
    found = setup.align(None, **info)
    assert found["_response"][1][0]["content"] == "<box:1:29,15,84,70:dial> is round."
    drawn = setup.align(None, **info, region_style="marks")
    assert drawn["_prompt"][1][0]["content"] == "<image><image>Which is round, [0] or [1]?"
    assert [draw_if_asked(entry).size for entry in drawn["_images"][1]] == [(112, 84)] * 2


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    Image.effect_noise(WIDE, 40).convert("RGB").save(tmp_path / "wide.png")
    found = FormatSetup(tmp_path)
    found.data_args.template = "qwen2_vl_region"
    return found


def processor_of(kind: Any, world: Path) -> Any:
    modules = load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny")))
    for name, value in {"image_max_pixels": 768 * 768, "image_min_pixels": 32 * 32}.items():
        setattr(modules["processor"], name, value)
    arguments = DataArguments(template="qwen2_vl_region", cutoff_len=10_000)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], arguments)
    return kind(template=template, data_args=arguments, **modules)


def test_prompts_of_rollouts_and_their_reward(small_world: Path, setup: FormatSetup) -> None:
    """From the row to the reward: what the model writes in pixels as fed scores 1 against gold in original pixels."""
    examples = setup.align([ROW], formatting="region")[:]
    ours, host = (processor_of(kind, small_world) for kind in (PromptProcessor, SupervisedDatasetProcessor))
    found, trained = ours.preprocess_dataset(examples), host.preprocess_dataset(examples)
    prompt = found["prompt_input_ids"][0]
    assert trained["input_ids"][0][: len(prompt)] == prompt
    text = ours.tokenizer.decode(prompt, skip_special_tokens=False)
    assert f'What is beside {{"bbox_2d": {OTHER_AS_FED}}}?' in text
    answer = ours.tokenizer.decode([token for token in trained["labels"][0] if token != -100])
    assert answer.startswith(f'It is {{"bbox_2d": {AS_FED}, "label": "dog"}}.')

    columns = json.loads(found["columns"][0])
    assert columns["answer"] == f'It is {{"bbox_2d": {AS_FED}, "label": "dog"}}.'
    assert columns["external"][0]["text"] == f'<answer>{{"bbox_2d": {AS_FED}, "label": "dog"}}</answer>'
    assert (columns["convention"], columns["image_size"]) == ("qwen2_5_vl", [1920, 822])
    assert (columns["processed_size"], columns["boxes"]) == ([1176, 504], [[float(value) for value in BOX]])
    rewards = load_rewards(["box_iou"], None, timeout=60)
    given = {name: [value] * 3 for name, value in columns.items()}
    right, as_original, none = rewards.score([answer, f"[{', '.join(map(str, BOX))}]", "there"], given).total
    assert right == pytest.approx(1, abs=1e-6)
    assert as_original < 0.2
    assert none == 0


def test_rollout_rows_with_gold_boxes_are_read_in_original_pixels_too(small_world: Path, setup: FormatSetup) -> None:
    row = {"images": ["wide.png"], "prompt": "Where is the dog? Not at <box:0,0,480,274>.", "box": BOX}
    examples = setup.align([row, {"prompt": "Nothing to see?", "box": None}], formatting="rollout")[:]
    found = processor_of(PromptProcessor, small_world).preprocess_dataset(examples)
    columns = json.loads(found["columns"][0])
    assert columns["prompt"] == f'Where is the dog? Not at {{"bbox_2d": {OTHER_AS_FED}}}.'
    rewards = load_rewards(["box_iou"], None, timeout=60)
    assert rewards.score([AS_FED], {name: [value] for name, value in columns.items()}).total == [pytest.approx(1)]
    assert "convention" not in json.loads(found["columns"][1])


@pytest.mark.parametrize(
    ("note", "told"),
    [("at <box:0:1,2>", "<box:0:1,2>"), ({"seen": ["<box:3:1,2,30,40>"]}, "image 3"), (["<box:a>"], "<box:a>")],
)
def test_a_box_of_another_column_that_cannot_be_written_is_named(
    small_world: Path, setup: FormatSetup, note: Any, told: str
) -> None:
    """Rewards get every column with its boxes as the model writes them, also those that no format knows."""
    examples = setup.align([ROW, {**ROW, "note": note}], formatting="region")[:]
    ours = processor_of(PromptProcessor, small_world)
    with pytest.raises(BadRowsError) as error:
        ours.preprocess_dataset(examples)
    assert "rows.json, row 2, field `note`: got a text that cannot be written for the model" in str(error.value)
    assert told in str(error.value)
    ours.data_args.skip_bad_rows = True
    assert len(ours.preprocess_dataset(examples)["columns"]) == 1


def test_pairs_write_a_box_that_one_answer_alone_has(small_world: Path, setup: FormatSetup) -> None:
    examples = setup.align([ROW], formatting="region", ranking=True)[:]
    ours = processor_of(PairProcessor, small_world)
    found = ours.preprocess_dataset(examples)
    assert ours.tokenizer.decode(found["chosen_ids"][0]).startswith("Yes.")
    assert ours.tokenizer.decode(found["rejected_ids"][0]).startswith(f'See {{"bbox_2d": {OTHER_AS_FED}}}.')


@pytest.mark.slow
def test_chat_takes_boxes_and_its_answers_are_read_back(small_world: Path, setup: FormatSetup) -> None:
    """What `llamafactory-cli chat` and `api` run; an untrained model writes anything, so an answer is given by hand."""
    from llamafactory.chat import ChatModel

    image = str(setup.folder / "wide.png")
    settings = {"model_name_or_path": str(small_world / "tiny"), "template": "qwen2_vl_region", "max_new_tokens": 2}
    chat = ChatModel({**settings, "infer_backend": "huggingface"})
    engine = chat.engine
    turns = [{"role": "user", "content": "What is in <box:960,411,1440,548>?"}]
    given, _ = engine._process_args(
        engine.model,
        engine.tokenizer,
        engine.processor,
        engine.template,
        engine.generating_args,
        turns,
        images=[image],
    )
    asked = engine.tokenizer.decode(given["inputs"][0])
    assert f'What is in {{"bbox_2d": {AS_FED}}}?' in asked
    assert asked.count("<|image_pad|>") == 1176 * 504 // 28**2
    assert chat.chat([{"role": "user", "content": turns[0]["content"].replace("<image>", "")}], images=[image])
    answer = f'{{"bbox_2d": {AS_FED}, "label": "dog"}}'
    assert engine.template.mm_plugin.read_boxes(answer, image, engine.processor) == [tuple(BOX)]


def run_settings(world: Path, out: Path, **changes: Any) -> dict[str, Any]:
    kept = (
        "template",
        "do_train",
        "finetuning_type",
        "report_to",
        "seed",
        "cutoff_len",
        "disable_gradient_checkpointing",
    )
    return {
        **{name: BASE[name] for name in kept},
        "template": "qwen2_vl_region",
        "model_name_or_path": str(world / "tiny"),
        "dataset_dir": str(world),
        "media_dir": str(world),
        "output_dir": str(out / "run"),
        "cache_dir": str(out / "cache"),
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        **changes,
    }


@pytest.mark.slow
@pytest.mark.train
def test_the_real_command_trains_on_drawn_regions(small_world: Path, tmp_path: Path) -> None:
    """`stage: sft` on boxes and drawings at once, and an evaluation, in the user's own process."""
    data = {"dataset": "region_train,region_marks_train", "eval_dataset": "region_marks_test"}
    settings = run_settings(small_world, tmp_path, stage="sft", eval_strategy="steps", eval_steps=2, **data)
    command(settings, tmp_path / "region")
    assert all(0 < loss < 20 for loss in history(tmp_path / "run"))
    assert history(tmp_path / "run", "eval_loss")
    assert "media files of" in (tmp_path / "region.log").read_text()


@pytest.mark.slow
@pytest.mark.train
def test_grpo_runs_on_region_rows(small_world: Path, tmp_path: Path) -> None:
    """Half of the rows point: the others have no such reward and no weight in it."""
    online = {"reward_funcs": ["box_iou"], "num_generations": 2, "max_new_tokens": 4}
    settings = run_settings(small_world, tmp_path, stage="grpo", dataset="region_train", **online)
    Processes(TRAIN, [str(written(settings, tmp_path / "grpo"))], tmp_path / "grpo.log").finish()
    assert len(history(tmp_path / "run", "reward")) == 2


def test_a_server_reads_boxes_as_numbers_and_sees_drawings(setup: FormatSetup) -> None:
    from llamafactory_hind.engines.server.data_urls import DataUrls
    from llamafactory_hind.formats.media.drawn import with_drawing

    request = Request([{"role": "user", "content": "Is <box:0:1,2,3,4.5:dog> here? <box:x>"}])
    assert build_messages(request, {"images": []})[0]["content"] == "Is dog [1, 2, 3, 4.5] here? <box:x>"
    urls = DataUrls(image_max_pixels=None, video_fps=1.0, video_max_frames=1)
    path = str(setup.folder / "wide.png")
    drawn = with_drawing(path, {"marks": "boxes", "boxes": [BOX], "numbers": [0]})
    assert urls.encode("images", drawn) != urls.encode("images", path)


def test_the_hosts_dpo_and_kepo_have_the_same_tokens(small_world: Path, setup: FormatSetup) -> None:
    examples = setup.align([ROW], formatting="region", ranking=True)[:]
    ours, host = (processor_of(kind, small_world) for kind in (PairProcessor, PairwiseDatasetProcessor))
    pairs, found = ours.preprocess_dataset(examples), host.preprocess_dataset(examples)
    for name in ("chosen", "rejected"):
        joined = [*pairs["prompt_input_ids"][0], *pairs[f"{name}_ids"][0]]
        assert found[f"{name}_input_ids"][0] == joined
    text = ours.tokenizer.decode(found["rejected_input_ids"][0])
    assert f'What is beside {{"bbox_2d": {OTHER_AS_FED}}}?' in text
    assert f'See {{"bbox_2d": {OTHER_AS_FED}}}.' in text


def loaded_of(processor: Any) -> Any:
    """Return what actions and hints need of a loaded model."""
    return SimpleNamespace(template=processor.template, tokenizer=processor.tokenizer, processor=processor.processor)


def feature_of(setup: FormatSetup, processor: Any, **more: Any) -> dict[str, Any]:
    examples = setup.align([ROW | more], formatting="region")[:]
    return {name: values[0] for name, values in processor.preprocess_dataset(examples).items()}


def test_external_actions_hold_boxes_as_fed(small_world: Path, setup: FormatSetup) -> None:
    """`external_grpo`: the tokens of an action are those that the policy would have sampled."""
    processor = processor_of(PromptProcessor, small_world)
    columns = json.loads(feature_of(setup, processor)["columns"])
    loaded = load_weights(str(small_world / "tiny"), settings={"template": "qwen2_vl_region"})
    reader = ActionReader(loaded, max_new_tokens=200)
    (action,), refused = reader.read(columns)
    assert not refused
    text = processor.tokenizer.decode(action.token_ids)
    assert f'<answer>{{"bbox_2d": {AS_FED}, "label": "dog"}}</answer>' in text


def rollout_of(feature: dict[str, Any]) -> Rollout:
    prompt = Prompt(feature["prompt_input_ids"], [], Request((), images=feature["images"]))
    return Rollout(feature, prompt, [], [], [], [])


def test_hints_of_gated_distill_hold_boxes_as_fed_and_a_teacher_gets_its_own(
    small_world: Path, setup: FormatSetup
) -> None:
    """Question, hint and answer are in the student's terms for the student, in pixels of the picture for the teacher's template."""
    processor = processor_of(PromptProcessor, small_world)
    feature = feature_of(setup, processor, hint="Look at <region:0>.")
    prompts = HintPrompts.read(hint_prompt=None, hinted_prompt=None, language="en", variant="hint_and_answer")
    hint = json.loads(feature["columns"])["hint"]
    hinted = hinted_prompt_of(loaded_of(processor), rollout_of(feature), prompts.for_student(feature, hint))
    text = processor.tokenizer.decode(hinted.input_ids)
    assert f'beside {{"bbox_2d": {OTHER_AS_FED}}}' in text
    assert text.count(f'{{"bbox_2d": {AS_FED}, "label": "dog"}}') == 2  # in the hint and in the answer
    asked = prompts.for_teacher(feature)[-1]["content"]
    assert "<box:0:0,0,480,274>" in asked
    assert "It is <box:0:960,411,1440,548:dog>." in asked
    assert AS_FED not in asked
    server = build_messages(Request([{"role": "user", "content": asked.replace("<image>", "")}]), {"images": []})
    assert "It is dog [960, 411, 1440, 548]." in server[0]["content"]


def test_the_columns_of_rows_without_boxes_are_not_kept_twice(small_world: Path, setup: FormatSetup) -> None:
    processor = processor_of(PromptProcessor, small_world)
    examples = setup.align([{"prompt": "Why?", "answer": "So."}], formatting="rollout")[:]
    assert "columns" not in json.loads(processor.preprocess_dataset(examples)["conversation"][0])
