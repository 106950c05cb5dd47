"""Which datasets the menu offers for a stage."""

from collections.abc import Mapping
from typing import Any

from ..config.registry import PAIR_STAGES, ROWS


def dataset_choices(info: Mapping[str, Any], stage: str) -> list[str]:
    """Return the names of the datasets that a stage of ours can read; those made for it come first.

    Args:
        info: entries of dataset_info.json.
        stage: of ours.
    """
    ranking = stage in PAIR_STAGES
    there = [name for name, entry in info.items() if bool(entry.get("ranking", False)) == ranking]
    if ranking:
        return there
    key, value = ("target", "multitask") if ROWS[stage] == "multitask" else ("formatting", "rollout")
    return sorted(there, key=lambda name: info[name].get(key) != value)  # stable: otherwise as in the file
