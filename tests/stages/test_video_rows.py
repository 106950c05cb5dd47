"""`video_reasoning` rows in the stages as they are: the host's `sft`, `grpo` with and without temporal contrast, `gated_distill`."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shared.stages import BASE, history, run


pytestmark = pytest.mark.train
KEYS = {
    **BASE,
    "reward_funcs": ["choice"],
    "video_fps": 1.0,
    "max_steps": 2,
    "max_new_tokens": 4,
    "per_device_train_batch_size": 2,
}


@pytest.fixture(scope="module")
def rows(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows over clips of the small world, trimmed, with reasoning; one has recorded frames."""
    folder = tmp_path_factory.mktemp("rows")
    stored = json.loads((small_world / "rows" / "video_reasoning.json").read_text())[:6]
    made = [row | {"start": 0.5, "end": 3.5, "reasoning": "It slides. Then it stops."} for row in stored]
    made[0]["frames"] = {"indices": [4, 12, 20], "seconds": [0.5, 1.5, 2.5]}
    (folder / "clips.json").write_text(json.dumps(made))
    entry = {"file_name": "clips.json", "formatting": "video_reasoning"}
    info = {"prompts": entry, "both": entry | {"target": "multitask"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "reward.py").write_text(
        "def vowels(completions, **columns):\n    return [sum(c in 'aeiou' for c in text) for text in completions]\n"
    )
    return folder


@pytest.fixture
def settings(small_world: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        **KEYS,
        "model_name_or_path": str(small_world / "tiny"),
        "dataset_dir": str(rows),
        "media_dir": str(small_world),
        "output_dir": str(tmp_path / "out"),
    }


def completions(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "completions").to_pylist()


def test_the_hosts_sft_learns_both_tasks(settings: dict[str, Any]) -> None:
    plain = {key: value for key, value in settings.items() if key not in ("reward_funcs", "num_generations")}
    out = run(plain, stage="sft", dataset="both", max_new_tokens=None, per_device_train_batch_size=6)
    assert len(history(out)) == 2
    assert history(out)[1] < history(out)[0]


def test_reason_sft_learns_both_tasks_of_a_clip(settings: dict[str, Any]) -> None:
    """The clip is computed once a row (`share_prefix: on` is an error where it cannot be)."""
    plain = {key: value for key, value in settings.items() if key not in ("reward_funcs", "num_generations")}
    out = run(plain, stage="reason_sft", dataset="both", max_new_tokens=None, max_steps=1, share_prefix="on")
    assert history(out)[0] == pytest.approx(history(out, "loss/answer")[0] + history(out, "loss/reason")[0], abs=1e-4)


def test_grpo_and_its_temporal_contrast(settings: dict[str, Any], rows: Path) -> None:
    reward = [f"{rows / 'reward.py'}:vowels", "choice"]
    out = run(settings, reward_funcs=reward, temporal_weight=0.3)
    assert len(history(out, "temporal/won")) == 2
    entries = completions(out)
    assert len(entries) == 2 * 2 * KEYS["num_generations"]
    for entry in entries:
        assert entry["reward/temporal_contrast"] in (0.0, 1.0)
        assert entry["reward/choice"] in (0.0, 1.0)
        first = next(value for name, value in entry.items() if name.endswith("vowels"))
        assert entry["reward"] == pytest.approx(
            first + entry["reward/choice"] + 0.3 * entry["reward/temporal_contrast"]
        )
        assert json.loads(entry["columns"])["type"] in ("TP", "TN", "CW")


def test_gated_distillation(settings: dict[str, Any], rows: Path, small_world: Path) -> None:
    keys = {"stage": "gated_distill", "gate_reward": "vowels", "gate_threshold": 0.0, "hint_samples": 0}
    teacher = str(small_world / "larger")
    out = run(settings, **keys, reward_funcs=[f"{rows / 'reward.py'}:vowels"], teacher=teacher, max_steps=1)
    assert len(history(out)) == 1
