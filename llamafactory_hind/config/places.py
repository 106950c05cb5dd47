"""Folders that a run writes are its own: never that of its data, whatever name leads there."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Problem


READ = ("dataset_dir", "media_dir")
WRITTEN = {
    "output_dir": "The run would write its README.md, settings and checkpoints there",
    "tokenized_path": "The tokenised rows would take the place of what is there",
    "rollout_sync_dir": "Weights would be written there",
}


def place_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find folders that are both written and read, and two that are written and are one; links and `..` are followed."""
    places = {key: settings.get(key) for key in (*READ, *WRITTEN)}
    places["dataset_dir"] = places["dataset_dir"] or "data"  # the host's default
    found = {
        key: os.path.realpath(value) for key, value in places.items() if isinstance(value, str) and _usable(value)
    }
    for number, (key, why) in enumerate(WRITTEN.items()):
        others = [*READ, *list(WRITTEN)[:number]]
        same = next((other for other in others if key in found and found.get(other) == found[key]), None)
        if same is not None:
            expected = f"a folder of its own: `{same}` is the same"
            yield Problem(key, settings[key], expected, f"{why}; give another.")


def _usable(path: str) -> bool:
    return bool(path) and "\0" not in path
