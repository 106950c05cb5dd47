"""The format through the real command and the host's `get_dataset`, in processes where our hooks are installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.formats import picture, write_rows
from shared.stages import TRAIN
from shared.warm import Processes


SAMPLES = Path(__file__).resolve().parents[2] / "data_info"
pytestmark = pytest.mark.slow


def settings_of(world: Path, out: Path, **options: object) -> Path:
    """Write the settings of a run of one step into a file."""
    settings = {
        "model_name_or_path": str(world / "tiny"),
        "template": "qwen2_vl",
        "finetuning_type": "full",
        "dataset_dir": str(SAMPLES),
        "output_dir": str(out / "run"),
        "cache_dir": str(out / "cache"),
        "do_train": True,
        "max_steps": 1,
        "per_device_train_batch_size": 6,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
    }
    path = out / "run.json"
    path.write_text(json.dumps(settings | options))
    return path


def train(settings: Path) -> subprocess.CompletedProcess:
    """Run the real `llamafactory-cli train` and return the process."""
    command = [str(Path(sys.executable).parent / "llamafactory-cli"), "train", str(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "run" / "trainer_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        {"stage": "sft", "dataset": "hindsight_sample_multitask,hindsight_sample_cot", "preprocessing_num_workers": 2},
        {"stage": "dpo", "dataset": "kepo_sample"},
    ],
)
def test_the_hosts_own_stages_train_on_hindsight_rows(small_world: Path, tmp_path: Path, options: dict) -> None:
    said = Processes(TRAIN, [str(settings_of(small_world, tmp_path, **options))], tmp_path / "log").finish()
    assert log_of(tmp_path)[0]["loss"] > 0
    assert "media files of" in said


def test_a_bad_row_stops_the_command_before_the_model_is_loaded(small_world: Path, tmp_path: Path) -> None:
    """Then `skip_bad_rows` on the command's own settings lets it run."""
    data = tmp_path / "data"
    data.mkdir()
    good = {"images": [picture(data / "a.png")], "question": "What?", "answer": "moss"}
    write_rows(data / "rows.jsonl", [good, good | {"images": ["gone.png"]}, good, good])
    info = {"mine": {"file_name": "rows.jsonl", "formatting": "hindsight"}}
    (data / "dataset_info.json").write_text(json.dumps(info))
    options = {"stage": "sft", "dataset": "mine", "dataset_dir": str(data)}
    run = train(settings_of(small_world, tmp_path, **options))
    assert run.returncode != 0
    assert "rows.jsonl, row 2, field `images[0]`: got 'gone.png', expected a readable image" in " ".join(
        run.stderr.split()
    )  # wrapped where COLUMNS is set
    assert "loading weights file" not in (run.stdout + run.stderr).lower()

    run = train(settings_of(small_world, tmp_path, **options, skip_bad_rows=True))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    assert "Skipped 1 bad row of mine" in run.stdout
    (line,) = (tmp_path / "run" / "bad_rows" / "mine.jsonl").read_text().splitlines()
    assert (json.loads(line)["row"], json.loads(line)["field"]) == (2, "images[0]")


GET_DATASET = """
import json, sys
from pathlib import Path
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from transformers import Seq2SeqTrainingArguments
folder, model = Path(sys.argv[1]), sys.argv[2]
model_args = ModelArguments(model_name_or_path=model, cache_dir=str(folder / "cache"))
training_args = Seq2SeqTrainingArguments(
    output_dir=str(folder / "out"), use_cpu=True, report_to=[], dataloader_num_workers=1, max_steps=1)
module = load_tokenizer(model_args)
pad = module["tokenizer"].convert_tokens_to_ids("<|image_pad|>")
for stage in ("sft", "kepo"):
    for streaming in (False, True):
        data_args = DataArguments(
            template="qwen2_vl", dataset=stage, dataset_dir=str(folder), streaming=streaming, buffer_size=1)
        template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
        rows = list(get_dataset(template, model_args, data_args, training_args, stage=stage, **module)["train_dataset"])
        ids = rows[-1]["prompt_input_ids" if stage == "kepo" else "input_ids"]
        names = [json.loads(row.get("columns") or "{}").get("id") for row in (rows[0], rows[-1])]
        found = [stage, streaming, len(rows), rows[0]["images"], rows[-1]["images"], ids.count(pad), names]
        print("RESULT", json.dumps(found))
"""


def test_get_dataset_with_pictures_after_a_thousand_text_rows(small_world: Path, tmp_path: Path) -> None:
    """Row 1,101 is the first with a picture: its tokens and its path are there. Columns arrive with `kepo`."""
    name = picture(tmp_path / "a.png")
    row = {"id": 0, "images": [], "question": "q", "answer": "a", "chosen": "c", "rejected": "r"}
    write_rows(tmp_path / "rows.json", [row] * 1100 + [row | {"id": 1, "images": [name]}])
    entry = {"file_name": "rows.json", "formatting": "hindsight"}
    info = {"sft": entry, "kepo": entry | {"ranking": True}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    said = Processes(GET_DATASET, [str(tmp_path), str(small_world / "tiny")], tmp_path / "log").finish()
    results = [json.loads(found) for found in re.findall("^RESULT (.*)$", said, re.MULTILINE)]
    pads = 4  # 56 x 56 pixels, patches of 14, merged two by two
    assert results == [
        [stage, streaming, 1101, None, [str(tmp_path / name)], pads, [0, 1] if stage == "kepo" else [None, None]]
        for stage in ("sft", "kepo")
        for streaming in (False, True)
    ]
