"""Rows that a vLLM server cannot be shown as the trainer sees them, found before the model is loaded."""

from collections.abc import Mapping
from typing import Any

from ...config.problem import listed


UNSERVED = ("videos", "audios")


def check_served_rows(dataset: Any) -> None:
    """Refuse rows with videos or audios: the server samples them by itself, and equal token ids do not mean equal frames.

    Args:
        dataset: processed rows, or several sets of them by name; None has no row.

    Raises:
        ValueError: names them.
    """
    if isinstance(dataset, Mapping):
        for rows in dataset.values():
            check_served_rows(rows)
        return
    if dataset is None:
        return
    names = set(dataset.column_names)
    kinds = [kind for kind in UNSERVED if kind in names]
    places = dataset["place" if "place" in names else "row_id"]
    problems = [
        f"{place}, field `{kind}`: got {len(media)}, expected none with `rollout_engine: vllm`"
        for kind in kinds
        for place, media in zip(places, dataset[kind], strict=True)
        if media
    ]
    if problems:
        raise ValueError(
            f"Rows that a vLLM server cannot be shown as the trainer sees them, {len(problems)} in all. Leave them out, or set "
            f"`rollout_engine: hf`:{listed(problems)}"
        )
