"""What a reader of completions must know of the run: where its media are, what was rewarded, which versions wrote it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...formats.templates.reading import BoxReader
from .entries import ReadsBoxes


if TYPE_CHECKING:
    from ...engines.local.weights import LoadedModel
    from ..host import HostArguments

PACKAGES = ("llamafactory-hind", "llamafactory", "transformers", "torch")


class Named(Protocol):
    """Rewards, as far as a reader must know them."""

    names: list[str]
    weights: list[float]


@dataclass(frozen=True)
class RunDescription:
    """What is written beside the completions, and what their records need.

    Attributes:
        record: see `record_of`.
        media_dir: absolute; names of media are relative to it.
        boxes: reads boxes in completions.
    """

    record: Mapping[str, Any]
    media_dir: Path
    boxes: ReadsBoxes | None = None

    @classmethod
    def of(cls, args: "HostArguments", loaded: "LoadedModel", rewards: Named) -> "RunDescription":
        """Describe a run."""
        reader = BoxReader(loaded.template.mm_plugin, loaded.processor, str(args.data.template or ""))
        return cls(record_of(args, rewards), Path(os.path.abspath(args.data.media_dir or ".")), reader)


def record_of(args: "HostArguments", rewards: Named) -> dict[str, Any]:
    """Return stage, folders (absolute), datasets, rewards with their weights, and versions; the method adds its own, see `Annotator`."""
    data, training = args.data, args.training
    return {
        "stage": str(args.finetuning.stage),
        "media_dir": os.path.abspath(data.media_dir or "."),
        "dataset_dir": os.path.abspath(data.dataset_dir) if isinstance(data.dataset_dir, str) else None,
        "dataset": [str(name) for name in data.dataset or []],
        "eval_dataset": [str(name) for name in data.eval_dataset or []],
        "model": str(args.model.model_name_or_path),
        "template": data.template,
        "rewards": dict(zip(rewards.names, rewards.weights, strict=True)),
        "num_generations": args.finetuning.num_generations,
        "max_new_tokens": args.generating.max_new_tokens,
        "seed": training.seed,
        "processes": training.world_size,
        "gate": None,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
