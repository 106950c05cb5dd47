"""The rows of a run, through the host; a tokenised copy on disk (`tokenized_path`) is used only if this run would make it again.

The host loads such a copy whatever the YAML says. Beside it stands what it was made from: stage, tokenizer, template, settings of
the processor, keys that shape rows, content of the data files.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamafactory.data import get_dataset
from llamafactory.extras import logging

from ..config.problem import ConfigError, Problem
from ..engines.local.fingerprint import digest_settings, processor_settings, versions
from ..formats.problems import NoRowsLeft
from ..storage.atomic import put_aside, write_json
from ..storage.digests import digest_path


if TYPE_CHECKING:
    from .host import HostArguments

logger = logging.get_logger("llamafactory.hind.trainers.rows")
FILE = "made_from.json"
NOTHING_LEFT = "Cannot find valid samples"  # what the host says where no row has become tokens
SAVED = ("dataset_dict.json", "state.json")  # of `datasets`, in a folder that it has saved
# Keys of the host's data arguments that say where things are or how fast they are made, not what the rows are.
ELSEWHERE = {
    "tokenized_path",
    "dataset_dir",
    "media_dir",
    "overwrite_cache",
    "preprocessing_batch_size",
    "preprocessing_num_workers",
    "data_shared_file_system",
    "ignore_pad_token_for_loss",
    "buffer_size",
}


def read_rows(args: "HostArguments", template: Any, tokenizer_module: dict[str, Any]) -> dict[str, Any]:
    """Return the host's data module of a stage.

    Raises:
        NoRowsLeft: every row was left out.
    """
    path = args.data.tokenized_path
    if path is not None:
        made_from = _made_from(args, template, tokenizer_module)
        with args.training.main_process_first(desc="check the tokenised rows"):
            if args.training.should_save:
                _set_aside_if_stale(Path(path), made_from)
    try:
        module = get_dataset(
            template, args.model, args.data, args.training, stage=args.finetuning.stage, **tokenizer_module
        )
    except RuntimeError as error:
        if NOTHING_LEFT not in str(error):
            raise
        listed = Path(str(args.training.output_dir)).glob("bad_rows/*.jsonl")
        names = [*(args.data.dataset or []), *(args.data.eval_dataset or [])]
        raise NoRowsLeft(names, sorted(map(str, listed))) from None
    if path is not None and args.training.should_save and Path(path).is_dir():
        write_json(Path(path) / FILE, made_from)
    return module


def _set_aside_if_stale(folder: Path, made_from: dict[str, str]) -> None:
    """Move a tokenised copy that was made from something else out of the way, with one line.

    Raises:
        ConfigError: what is there is no tokenised copy, and so not ours to move.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any((folder / name).is_file() for name in (FILE, *SAVED)):
        expected = "a new or empty folder, or one with tokenised rows"
        raise ConfigError([Problem("tokenized_path", str(folder), expected, "It holds something else; give another.")])
    try:
        before = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    changed = sorted(key for key in {*before, *made_from} if before.get(key) != made_from.get(key))
    if not changed:
        return
    why = f"{', '.join(changed)} changed" if before else f"it has no {FILE}"
    aside = put_aside(folder, ".stale")
    logger.warning_rank0(f"Tokenised rows in {folder} are stale ({why}): rebuilt; the old ones are in {aside}.")


def _made_from(args: "HostArguments", template: Any, tokenizer_module: dict[str, Any]) -> dict[str, str]:
    """Return what tokenised rows depend on: names by which a stale copy is found, and digests."""
    tokenizer, data = tokenizer_module["tokenizer"], args.data
    words = sorted(tokenizer.get_vocab().items())
    keys = {key: value for key, value in vars(data).items() if key not in ELSEWHERE}
    return {
        "stage": str(args.finetuning.stage),
        "tokenizer": _digest(
            [words, tokenizer.special_tokens_map, tokenizer("a Test, 12 äß\n of   merges")["input_ids"]]
        ),
        "template": _digest(re.sub(r" at 0x[0-9a-f]+", "", repr(template))),
        "processor": digest_settings(processor_settings(tokenizer_module.get("processor"))),
        "keys": _digest([keys, args.training.seed]),  # the seed splits off an evaluation set
        "data": _digest(_data_files(data)),
        "versions": " ".join(f"{name} {number}" for name, number in versions().items()),
    }


def _data_files(data: Any) -> list[Any]:
    """Return the entries of the data sets of a run and digests of their files; a name on a hub stands for itself."""
    root = Path(str(data.dataset_dir))
    try:
        info = json.loads((root / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        info = {}
    names = [*(data.dataset or []), *(data.eval_dataset or [])]
    entries = [info.get(name, name) for name in names]
    files = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    return [entries, [digest_path(str(root / file)) for file in files if file]]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
