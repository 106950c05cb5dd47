"""Pictures that are lost before an evaluation, in all our stages and in the host's on our rows: listed, and no number counts them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

from llamafactory_hind.formats.problems import BadRowsError
from shared.stages import BASE, history, run


pytestmark = [pytest.mark.slow, pytest.mark.train]
LOST = (3, 4, 7)
ONLINE = ("num_generations", "max_new_tokens")
ENTRIES = {
    "grpo": {"formatting": "rollout"},
    "kepo": {"formatting": "hindsight", "ranking": True},
    "reason_sft": {"formatting": "hindsight", "target": "multitask"},
    "critic": {"formatting": "region", "target": "answer_rationale"},
    "lskd": {"formatting": "region", "target": "answer"},
    "sft": {"formatting": "hindsight", "target": "answer"},
    "dpo": {"formatting": "hindsight", "ranking": True},
}
KEYS: dict[str, dict[str, Any]] = {"reason_sft": {"evaluate_answers": True, "max_new_tokens": 2, "reason_weight": 0.5}}


def row(number: int, picture: Path, folder: Path) -> dict[str, Any]:
    name = f"{'lost' if number in LOST else 'kept'}-{number}.png"
    shutil.copy(picture, folder / name)
    texts = {"prompt": "What is red?", "question": "What is red?", "chosen": f"ring {number}", "rejected": "a dax"}
    texts |= {"answer": "moss", "cot": ["it is"], "rationale": "it says so"}
    rated = {"label": ["accept", "accept" if number % 2 else "reject", "reject"], "qa_score": 0.5, "r_score": 0.5}
    return {"id": f"r{number}", "images": [name], **texts, **rated, "regions": [{"box": [2, 3, 20, 18], "label": "x"}]}


@pytest.fixture(scope="module")
def folder(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows, and the five of them that keep their pictures; each stage has its own entries, and they skip bad rows."""
    folder = tmp_path_factory.mktemp("rows")
    pictures = sorted((small_world / "images").glob("*.png"))[:8]
    rows = [row(number, picture, folder) for number, picture in enumerate(pictures, start=1)]
    (folder / "all.json").write_text(json.dumps(rows))
    (folder / "kept.json").write_text(json.dumps([one for n, one in enumerate(rows, start=1) if n not in LOST]))
    info = {
        f"{stage}_{name}": {"file_name": f"{name}.json", **entry, "skip_bad_rows": True}
        for stage, entry in ENTRIES.items()
        for name in ("all", "kept")
    }
    strict = {key: value for key, value in info["sft_all"].items() if key != "skip_bad_rows"}
    (folder / "dataset_info.json").write_text(json.dumps({**info, "strict": strict}))
    reward = "def length(completions, **columns):\n    return [float(len(c)) for c in completions]\n"
    (folder / "reward.py").write_text(reward)
    return folder


@pytest.fixture
def losing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pictures empty files when an evaluation or a training begins, and whole again afterwards."""
    lost = {path: path.read_bytes() for path in folder.glob("lost-*.png")}

    def through(name: str) -> None:
        host = getattr(Trainer, name)

        def method(self: Trainer, *args: Any, **kwargs: Any) -> Any:
            for path in lost:
                path.write_bytes(b"")
            try:
                return host(self, *args, **kwargs)
            finally:
                for path, content in lost.items():
                    path.write_bytes(content)

        monkeypatch.setattr(Trainer, name, method)

    for name in ("train", "evaluate", "predict"):
        through(name)


def settings(world: Path, folder: Path, out: Path, stage: str) -> dict[str, Any]:
    own = {"model_name_or_path": str(world / "tiny"), "dataset_dir": str(folder), "media_dir": str(folder)}
    own |= {"output_dir": str(out), "stage": stage, "per_device_eval_batch_size": 4, **KEYS.get(stage, {})}
    if stage == "grpo":
        return BASE | own | {"reward_funcs": [f"{folder / 'reward.py'}:length"], "num_generations": 2}
    template = {"template": "qwen2_vl_region"} if stage in ("critic", "lskd") else {}
    return {key: value for key, value in BASE.items() if key not in ONLINE} | template | own


def evaluated(world: Path, folder: Path, out: Path, stage: str, rows: str) -> dict[str, float]:
    keys = {"do_train": False, "do_eval": True, "dataset": None, "eval_dataset": f"{stage}_{rows}", "max_steps": None}
    run(settings(world, folder, out, stage), **keys)
    return json.loads((out / "eval_results.json").read_text())


def listed(out: Path) -> set[tuple[int, str]]:
    lines = (out / "bad_rows" / "in_training.jsonl").read_text().splitlines()
    return {(line["row"], line["field"]) for line in map(json.loads, lines)}


@pytest.mark.parametrize("stage", ["grpo", "kepo", "reason_sft", "critic", "lskd"])
def test_numbers_are_those_of_the_other_rows(
    small_world: Path, folder: Path, tmp_path: Path, losing: None, stage: str
) -> None:
    """`critic` shows the same without the rows; `kepo` too, whose own reference leaves them out. The contrast of `lskd` counts all."""
    found = evaluated(small_world, folder, tmp_path / "all", stage, "all")
    assert listed(tmp_path / "all") == {(number, "images") for number in LOST}
    wanted = evaluated(small_world, folder, tmp_path / "kept", stage, "kept")
    names = {name for name in wanted if not any(word in name for word in ("time", "per_second"))}
    assert names <= set(found)
    if stage != "lskd":
        assert {name: found[name] for name in names} == pytest.approx({n: wanted[n] for n in names}, abs=1e-5)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_stage_of_the_host_trains_and_evaluates(
    small_world: Path, folder: Path, tmp_path: Path, losing: None, stage: str
) -> None:
    out = tmp_path / "out"
    keys = {"dataset": f"{stage}_all", "eval_dataset": f"{stage}_all", "do_eval": True, "max_steps": 4}
    run(settings(small_world, folder, out, stage), **keys)
    assert len(history(out)) == 4
    assert listed(out) == {(number, "images") for number in LOST}
    assert json.loads((out / "eval_results.json").read_text())["eval_loss"] > 0


def test_predictions_keep_their_lines(small_world: Path, folder: Path, tmp_path: Path, losing: None) -> None:
    """A row that cannot be read has no prediction, its own prompt and label; the others are as without it."""
    keys = {"do_train": False, "do_predict": True, "predict_with_generate": True, "dataset": None, "max_steps": None}
    keys |= {"do_sample": False, "max_new_tokens": 3}
    lines = {}
    for name in ("all", "kept"):
        out = tmp_path / name
        run(settings(small_world, folder, out, "sft"), **keys, eval_dataset=f"sft_{name}")
        lines[name] = [json.loads(line) for line in (out / "generated_predictions.jsonl").read_text().splitlines()]
    assert [not line["predict"] for line in lines["all"]] == [number in LOST for number in range(1, 9)]
    assert {line["label"] for line in lines["all"]} == {lines["kept"][0]["label"]}
    assert [line for line in lines["all"] if line["predict"]] == lines["kept"]


def test_without_skipping_a_stage_of_the_host_names_the_row(
    small_world: Path, folder: Path, tmp_path: Path, losing: None
) -> None:
    with pytest.raises(BadRowsError, match=r"all\.json, row [347], field `images`: got .*lost-[347]\.png"):
        run(settings(small_world, folder, tmp_path / "out", "sft"), dataset="strict", max_steps=3)
