"""Pictures that are lost while a run of two processes trains: it takes all its steps, and lists the rows; or it names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.stages import BASE, TRAIN, history
from shared.warm import Processes


pytestmark = [pytest.mark.slow, pytest.mark.train]
LOSE = "import glob, sys\ndef lose():\n    for name in glob.glob(sys.argv[1].rpartition('/')[0] + '/lost-*.png'):\n        open(name, 'w').close()\n"
AT_THE_FIRST_REWARD = f"""{LOSE}
from llamafactory_hind.trainers.rollouts import trainer
made = trainer.RolloutTrainer._normalise
def lose_then(self, batches):
    lose()
    return made(self, batches)
trainer.RolloutTrainer._normalise = lose_then
"""
BEFORE_REFERENCES = f"""{LOSE}
from llamafactory_hind.stages import kepo
ready = kepo._add_references
def lose_then(*args):
    args[0].accelerator.wait_for_everyone()
    lose()
    args[0].accelerator.wait_for_everyone()
    ready(*args)
kepo._add_references = lose_then
"""
AFTER_REFERENCES = BEFORE_REFERENCES.replace("    lose()\n", "").replace(
    "    ready(*args)\n", "    ready(*args)\n    lose()\n"
)


@pytest.fixture
def settings(small_world: Path, tmp_path: Path) -> dict[str, Any]:
    """Eight rows with a picture each; three of them will be lost, two in a row: a process can have nothing else."""
    pictures = sorted((small_world / "images").glob("*.png"))[:8]
    rows = []
    for number, picture in enumerate(pictures):
        name = f"{'lost' if number in (2, 3, 6) else 'kept'}-{number}.png"
        shutil.copy(picture, tmp_path / name)
        texts = {"prompt": "What is red?", "question": "What is red?", "chosen": f"ring {number}", "rejected": "a dax"}
        rows.append({"id": f"r{number}", "images": [name], "answer": "moss", **texts})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    info = {
        "prompts": {"file_name": "rows.json", "formatting": "rollout"},
        "pairs": {"file_name": "rows.json", "formatting": "hindsight", "ranking": True},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "reward.py").write_text(
        "def length(completions, **columns):\n    return [float(len(c)) for c in completions]\n"
    )
    places = {
        "model_name_or_path": str(small_world / "tiny"),
        "dataset_dir": str(tmp_path),
        "media_dir": str(tmp_path),
    }
    own = {"output_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"), "use_cpu": True}
    one = {
        "per_device_train_batch_size": 1,
        "ddp_find_unused_parameters": False,
        "num_generations": 2,
        "max_new_tokens": 2,
    }
    return (
        BASE
        | places
        | own
        | one
        | {"reward_funcs": [str(tmp_path / "reward.py") + ":length"], "disable_shuffling": True}
    )


def train(settings: dict[str, Any], before: str, folder: Path, *, ranks: int = 2) -> str:
    path = folder / "run.json"
    path.write_text(json.dumps(settings))
    return Processes(before + TRAIN, [str(path)], folder / "log", ranks=ranks).finish()


def test_rollouts(settings: dict[str, Any], tmp_path: Path) -> None:
    """4 steps of two processes with one prompt each go through all rows; rows 3, 4 and 7 are lost after the first step."""
    train({**settings, "skip_bad_rows": True}, AT_THE_FIRST_REWARD, tmp_path)
    assert len(history(tmp_path / "out")) == 4
    assert listed(tmp_path) == {(3, "images"), (4, "images"), (7, "images")}


@pytest.mark.parametrize("before", [BEFORE_REFERENCES, AFTER_REFERENCES], ids=["before", "after"])
def test_pairs(settings: dict[str, Any], tmp_path: Path, before: str) -> None:
    keys = {"stage": "kepo", "dataset": "pairs", "skip_bad_rows": True}
    given = {
        key: value
        for key, value in settings.items()
        if key not in ("reward_funcs", "num_generations", "max_new_tokens")
    }
    train(given | keys, before, tmp_path)
    assert len(history(tmp_path / "out")) == 4
    assert listed(tmp_path) == {(3, "images"), (4, "images"), (7, "images")}


def test_without_skipping_the_run_ends_and_names_the_row(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"rows\.json, row [347], field `images`: got .*lost-[236]\.png"):
        train(settings, AT_THE_FIRST_REWARD, tmp_path)


def listed(folder: Path) -> set[tuple[int, str]]:
    lines = (folder / "out" / "bad_rows" / "in_training.jsonl").read_text().splitlines()
    return {(line["row"], line["field"]) for line in map(json.loads, lines)}
