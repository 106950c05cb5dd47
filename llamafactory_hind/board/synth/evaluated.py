"""What a run of the host's Evaluate & Predict tab wrote, as keys of `score`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


PREDICTIONS = "generated_predictions.jsonl"
CONFIG = "llamaboard_config.yaml"  # of the host: element id -> value, beside the predictions


def settings_of_run(predictions: Path) -> dict[str, Any]:
    """Return `predictions`, and the datasets they were made from as the Board noted them; a file that says nothing adds nothing."""
    found: dict[str, Any] = {"predictions": str(predictions)}
    try:
        saved = yaml.safe_load((predictions.parent / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return found
    if not isinstance(saved, Mapping):
        return found
    if isinstance(saved.get("eval.dataset"), list) and saved["eval.dataset"]:
        found["dataset"] = ",".join(map(str, saved["eval.dataset"]))
    if saved.get("eval.dataset_dir"):
        found["dataset_dir"] = str(saved["eval.dataset_dir"])
    most = str(saved.get("eval.max_samples", ""))
    if most.isdigit() and int(most) > 0:
        found["max_samples"] = int(most)
    return found
