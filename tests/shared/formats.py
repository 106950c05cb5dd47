"""Datasets on disk, loaded by the host's own functions with our hooks' work done by hand: for the tests of `formats`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from llamafactory.data import loader
from llamafactory.data.parser import DatasetAttr
from llamafactory.hparams import DataArguments, ModelArguments
from PIL import Image
from transformers import TrainingArguments

from llamafactory_hind.formats.align.dataset import align_dataset


COLUMNS = ("_prompt", "_response", "_system", "_tools", "_images", "_videos", "_audios")


def picture(path: Path, *, size: tuple[int, int] = (56, 56), color: str = "red") -> str:
    """Write a PNG and return its name."""
    Image.new("RGB", size, color).save(path)
    return path.name


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON array, or one a line for `.jsonl`."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(list(rows)), encoding="utf-8")


class FormatSetup:
    """A dataset folder; `align` loads one dataset of it through the host and aligns it as the hook does."""

    def __init__(self, folder: Path, **data_args: Any) -> None:
        """Keep cached files of `datasets` inside the folder, so that tests share nothing."""
        self.folder = folder
        self.output = folder / "output"
        self.model_args = ModelArguments(model_name_or_path="none", cache_dir=str(folder / "cache"))
        self.training_args = TrainingArguments(output_dir=str(self.output), use_cpu=True, report_to=[])
        self.skip_bad_rows = data_args.pop("skip_bad_rows", False)
        self.data_args = DataArguments(dataset_dir=str(folder), template="qwen2_vl", **data_args)
        self.data_args.skip_bad_rows = self.skip_bad_rows

    def attribute(self, info: Mapping[str, Any]) -> DatasetAttr:
        """Return the host's description of a `dataset_info.json` entry, with the entry on it as the hook leaves it."""
        attribute = DatasetAttr("file", dataset_name=info["file_name"])
        attribute.join(dict(info))
        attribute.hind_info = dict(info)
        return attribute

    def align(self, rows: Sequence[Mapping[str, Any]] | None = None, **info: Any) -> Dataset:
        """Write `rows` to `rows.json` unless None, load them with the host's code and align them."""
        info = {"file_name": "rows.json", "formatting": "hindsight"} | info
        if rows is not None:
            write_rows(self.folder / info["file_name"], rows)
        hooked = loader.align_dataset
        host_align = getattr(loader.align_dataset, "__wrapped__", loader.align_dataset)  # the hook may be installed

        def align(dataset: Any, attr: Any, data_args: Any, training_args: Any) -> Any:
            return align_dataset(host_align, dataset, attr, data_args, training_args)

        loader.align_dataset = (
            align  # what the hook of `attach` does, here for a process where it may not be installed
        )
        try:
            return loader._load_single_dataset(
                self.attribute(info), self.model_args, self.data_args, self.training_args
            )
        finally:
            loader.align_dataset = hooked

    def skipped(self, name: str = "rows") -> list[dict[str, Any]]:
        """Return the lines of the side file."""
        path = self.output / "bad_rows" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
