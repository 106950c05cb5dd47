"""Reference log-probs of pairs: computed once, kept on disk, recognised by what they were computed from.

The reference is the model as it is loaded, before its first update (adapter off for a fresh LoRA, the adapter as it was for
one that is trained on), or `ref_model`. Nothing of it stays in memory during training. The cache is one JSONL file: a header
that says what the numbers were computed from, then a line a pair, keyed by its ids and the content of its media; a killed run
keeps every line it wrote.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from llamafactory.extras import logging
from tqdm import tqdm

from ...config.problem import ConfigError, Problem
from ...engines.local.proof import Difference, disagreement
from ...engines.local.scoring import computes_in_half, otherwise
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.problems import BadRow, BadRowsError, append_to_side_file
from ...formats.processors.origin import PLACE, SIDE_FILE
from ...storage.append_log import append_lines
from ...storage.atomic import write_text
from ...storage.digests import digest_media
from ..row_guard import NOT_OF_A_ROW
from .collator import REFERENCE_COLUMNS
from .trainer import PairLogps, PairTrainer, pair_logps


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.get_logger(
    "llamafactory.hind." + __name__.partition(".")[2]
)  # a child of the host's logger, which has handlers
FORMAT = 2
SPOT_ROWS = 4  # [ours] pairs of a cache that are scored again at every start
INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def model_digest(model: torch.nn.Module) -> str:
    """Digest of every parameter and buffer, exact in its bits and independent of threads and devices."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        bits = tensor.detach().contiguous().view(-1)
        bits = bits.view(INTEGER_OF_SIZE[bits.element_size()]) if bits.numel() else bits.to(torch.int8)
        places = bits[:: max(1, bits.numel() // 1024)].cpu().numpy().tobytes()  # the sum alone misses a permutation
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|{bits.sum(dtype=torch.int64).item()}".encode())
        digest.update(places)
    return digest.hexdigest()


def pair_key(row: dict[str, Any]) -> str:
    """Name a pair by its token ids and the content of its media."""
    media = [digest_media({name: row.get(name) or []}) for name in MEDIA_FIELDS]
    content = json.dumps([row["prompt_input_ids"], row["chosen_ids"], row["rejected_ids"], media])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


class ReferenceCache:
    """Pairs of summed log-probs (chosen, rejected) by `pair_key`, in one JSONL file with a header."""

    def __init__(self, path: Path, made_from: dict[str, str], *, writable: bool) -> None:
        """Read `path` if its header equals `made_from`; say what differs and start afresh otherwise."""
        self.path, self.made_from, self.writable = path, made_from, writable
        self.values: dict[str, tuple[float, float]] = {}
        kept = list(self._read()) if path.is_file() else []
        self.values = {key: (chosen, rejected) for key, chosen, rejected in kept}
        self._write_whole()  # drops a line that a kill cut short

    def forget(self) -> None:
        """Start afresh."""
        self.values = {}
        self._write_whole()

    def _write_whole(self) -> None:
        if not self.writable:
            return
        lines = [json.dumps({"format": FORMAT, "made_from": self.made_from})]
        lines += [json.dumps([key, *pair]) for key, pair in self.values.items()]
        write_text(self.path, "\n".join(lines) + "\n")

    def _read(self) -> Iterator[tuple[str, float, float]]:
        header, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        try:
            found = json.loads(header)
        except json.JSONDecodeError:
            found = {}
        if header and not (isinstance(found, dict) and {"format", "made_from"} <= found.keys()):
            remedy = "It holds something else, which a cache would take the place of; give another file."
            raise ConfigError(
                [Problem("ref_logps_cache", str(self.path), "a cache of this package, or no file", remedy)]
            )
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            logger.warning_rank0(f"{self.path} is not a reference log-prob cache of this version: rebuilt.")
            return
        before = found.get("made_from", {})
        changed = sorted(k for k in {*before, *self.made_from} if before.get(k) != self.made_from.get(k))
        if changed:
            logger.warning_rank0(
                f"Reference log-probs in {self.path} are stale ({', '.join(changed)} changed): rebuilt."
            )
            return
        for line in lines:
            try:
                key, chosen, rejected = json.loads(line)
            except ValueError:
                continue  # cut short by a kill
            yield key, chosen, rejected

    def add(self, pairs: Iterable[tuple[str, float, float]]) -> None:
        """Keep the pairs, durably."""
        pairs = list(pairs)
        self.values.update({key: (chosen, rejected) for key, chosen, rejected in pairs})
        if self.writable:
            append_lines(self.path, (json.dumps(pair) for pair in pairs))


@torch.no_grad()
def check_cached(
    trainer: PairTrainer, model: torch.nn.Module, datasets: "Iterable[Dataset]", cache: ReferenceCache
) -> None:
    """Score a few cached pairs again; where they differ, something decides log-probs that no header names: start afresh.

    Args:
        trainer: gives collator, device, precision and processes.
        model: the reference.
        datasets: whose rows may be in the cache.
        cache: emptied where it is wrong, on all processes.
    """
    known = [(row, key) for rows in datasets for row, key in _some_cached(rows, cache)][:SPOT_ROWS]
    if not known:
        return
    model = trainer.placed(model)
    training, _ = model.training, model.eval()
    kept, found, noisy = [], [], []
    with trainer.precision():
        half = computes_in_half(model)
    for row, key in known:
        lengths = [len(row["chosen_ids"]), len(row["rejected_ids"])]
        alone = _score(trainer, model, [row])
        with otherwise(model, half=half):
            beside = _score(trainer, model, [row, known[0][0], known[-1][0]])
        for values, scored in ((found, alone), (noisy, beside)):
            values += [scored.chosen[0].item() / lengths[0], scored.rejected[0].item() / lengths[1]]
        kept += [cache.values[key][0] / lengths[0], cache.values[key][1] / lengths[1]]
    model.train(training)
    numbers = [torch.tensor(values, dtype=torch.float64) for values in (kept, found, noisy)]
    reason = disagreement(numbers[0], numbers[1], Difference.of(numbers[2], numbers[1]), half=half)
    differs = torch.tensor(float(reason is not None), device=trainer.args.device)
    if trainer.accelerator.reduce(differs, "sum").item():
        difference = Difference.of(numbers[0], numbers[1])
        logger.warning_rank0(
            f"Reference log-probs in {cache.path} are not those of this reference ({len(known)} pairs scored again differ by up "
            f"to {difference.largest:.2e} a token): rebuilt."
        )
        cache.forget()


def _some_cached(rows: "Dataset", cache: ReferenceCache) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield some rows that a cache holds, from the beginning, the middle and the end of a dataset."""
    if not cache.values:
        return
    places = {round(step * (len(rows) - 1) / (SPOT_ROWS - 1)) for step in range(SPOT_ROWS)}
    for place in sorted(places):
        row = rows[place]
        key = pair_key(row)
        if key in cache.values:
            yield row, key


def add_reference_logps(
    trainer: PairTrainer, model: torch.nn.Module, dataset: "Dataset", cache: ReferenceCache, *, name: str
) -> "Dataset":
    """Return `dataset` with `REFERENCE_COLUMNS`, scoring under `model` what the cache does not hold.

    Args:
        trainer: gives collator, device, precision and processes; its own model is not used.
        model: the reference, on any device.
        dataset: rows of `formats.processors.pairs.PairProcessor`.
        cache: read, and extended.
        name: of the dataset, for the progress bar and the log line.
    """
    keys = [pair_key(row) for row in dataset]
    missing = list({key: index for index, key in enumerate(keys) if key not in cache.values}.values())
    logger.info_rank0(
        f"Reference log-probs of {name}: {len(keys) - len(missing)} from {cache.path}, {len(missing)} to do."
    )
    unreadable: list[BadRow] = []
    accelerator, batch_size = trainer.accelerator, trainer.args.per_device_eval_batch_size
    if missing:
        model = trainer.placed(model)
        training, _ = model.training, model.eval()
        # similar lengths share a batch; the order is the same on every process
        missing.sort(key=lambda index: len(dataset[index]["prompt_input_ids"]))
        block = batch_size * accelerator.num_processes
        starts = range(0, len(missing), block)
        for start in tqdm(starts, desc=f"reference {name}", disable=not accelerator.is_main_process):
            mine = missing[start : start + block][accelerator.process_index :: accelerator.num_processes]
            mine, bad = _readable(trainer, dataset, mine)
            found = _score_rows(trainer, model, dataset, mine, keys) if mine else []
            if accelerator.num_processes > 1:
                found, bad = gather_object(found), gather_object(bad)
            cache.add(found)
            unreadable += bad
        model.train(training)
    dataset, keys = _without(trainer, dataset, keys, unreadable)
    columns = list(zip(*(cache.values[key] for key in keys), strict=True)) or [(), ()]
    for column, values in zip(REFERENCE_COLUMNS, columns, strict=True):
        dataset = dataset.add_column(column, list(values))
    return dataset


def _readable(trainer: PairTrainer, dataset: "Dataset", indices: list[int]) -> tuple[list[int], list[BadRow]]:
    """Return the rows that can be turned into a batch, and the others with what is wrong."""
    guard = trainer.collator.guard
    if guard is None or not indices:
        return indices, []
    rows = [dataset[index] for index in indices]
    try:
        trainer.collator.collate(rows)
    except NOT_OF_A_ROW:
        raise
    except Exception as error:
        bad = guard.find(rows)
        if not bad:
            raise error
        return [index for place, index in enumerate(indices) if place not in bad], list(bad.values())
    return indices, []


def _without(
    trainer: PairTrainer, dataset: "Dataset", keys: list[str], unreadable: list[BadRow]
) -> tuple["Dataset", list[str]]:
    """Leave bad rows out, on every process alike: all know what each has found.

    Raises:
        BadRowsError: bad rows are not skipped, or none is left.
    """
    if not unreadable:
        return dataset, keys
    guard = trainer.collator.guard
    bad = {row.place for row in unreadable}
    origins = list(dataset.select_columns([PLACE, SIDE_FILE]))
    good = [place for place, row in enumerate(origins) if row[PLACE] not in bad]
    skipped = guard is not None and all(guard.skips_row(row) for row in origins if row[PLACE] in bad)
    if guard is None or not skipped or not good:
        raise BadRowsError(unreadable, dataset="of this run", checked=len(keys), side_file=guard and guard.side_file)
    if trainer.accelerator.is_main_process:
        for row in unreadable:
            append_to_side_file(guard.side_file, row)
    logger.warning_rank0(f"Skipped {len(unreadable)} rows that went bad after the check; see {guard.side_file}.")
    return dataset.select(good), [keys[place] for place in good]


def _score_rows(
    trainer: PairTrainer, model: torch.nn.Module, dataset: "Dataset", indices: list[int], keys: list[str]
) -> list[tuple[str, float, float]]:
    scored = _score(trainer, model, [dataset[index] for index in indices])
    values = zip(indices, scored.chosen.tolist(), scored.rejected.tolist(), strict=True)
    return [(keys[index], chosen, rejected) for index, chosen, rejected in values]


def _score(trainer: PairTrainer, model: torch.nn.Module, rows: list[dict[str, Any]]) -> PairLogps:
    batch = trainer._prepare_inputs(trainer.collator(rows))
    with torch.no_grad(), trainer.precision():
        return pair_logps(model, batch)
