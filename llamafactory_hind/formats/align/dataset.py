"""Aligning our formats: every row is checked on every run, outside the host's cached `map`, and only then converted."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, IterableDataset, Value
from llamafactory.extras import logging

from ...config.problem import RowProblem
from .. import format_names, get_converters
from ..media.check import MediaCheck
from ..media.verdicts import VerdictStore
from ..media.view import MediaView
from ..options import refuse_entry, wrong_flags
from ..problems import BadRow, BadRowsError, append_to_side_file, write_side_file
from .columns import RowConversion, aligned_features, to_aligned, to_rows
from .host_rows import HostRows
from .locating import RowLocator
from .run import RUN, Run
from .tables import KIND_OF_ROWS
from .texts import TextCheck


if TYPE_CHECKING:
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments
    from transformers import Seq2SeqTrainingArguments


# A child of the host's logger: its handlers print and fill LLaMA Board's log.
logger = logging.get_logger("llamafactory.hind.formats.align.dataset")

ROWS_AT_ONCE = 1000


def align_dataset(
    host_align: Callable[..., Dataset | IterableDataset],
    dataset: Dataset | IterableDataset,
    dataset_attr: "DatasetAttr",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
) -> Dataset | IterableDataset:
    """Check and align a dataset of ours; hand any other to the host.

    Beside the host's columns the result has `_columns` (JSON of every other field), `_source` (where the row is) and
    `_side_file` (where a processor lists it, should it not fit; None unless bad rows are skipped).

    Args:
        host_align: the host's `align_dataset`.
        dataset: rows as loaded, possibly sampled and cut by the host.
        dataset_attr: the host's description of the dataset, with its `dataset_info.json` entry as `hind_info`.
        data_args: the host's data arguments, with our `skip_bad_rows`.
        training_args: for the output folder; only the process that saves writes there.

    Raises:
        BadRowsError: rows are bad and `skip_bad_rows` is off, or no good row is left.
        ValueError: the `dataset_info.json` entry is wrong, or the dataset is empty.
    """
    locator = RowLocator(dataset_attr, data_args)
    if dataset_attr.formatting not in format_names():
        if not isinstance(dataset, Dataset) or locator.table is None:
            return host_align(dataset, dataset_attr, data_args, training_args)
        return _align_host_rows(host_align, dataset, dataset_attr, data_args, training_args, locator)
    first = next(iter(dataset.with_format("arrow") if isinstance(dataset, Dataset) else dataset), None)
    if first is None:
        _refuse_unreadable(locator, training_args)
        raise ValueError(f"Dataset {locator.name} ({locator.path}) has no rows.")
    converter = get_converters()[dataset_attr.formatting](dataset_attr, data_args)
    check = RowCheck(
        converter=converter,
        locator=locator,
        media=_media_check(data_args, RUN.get()),
        texts=TextCheck.of(data_args, RUN.get()),
        skip_bad_rows=bool(getattr(data_args, "skip_bad_rows", False)) or converter.options.skip_bad_rows,
        side_file=_side_file(training_args, locator),
        joined=KIND_OF_ROWS.get() == "multitask",
    )
    if training_args.should_save:
        write_side_file(check.side_file, [])
    if isinstance(dataset, IterableDataset):
        return _align_stream(dataset, check, column_names=list(first))
    good, numbers = _select_good_rows(dataset, check, is_writer=training_args.should_save)
    convert = RowConversion(
        converter,
        locator.places(numbers),
        check.written_file,
        check.media.fingerprint(),
        locator.json_columns,
        check.joined,
        check.texts.escaped,
    )
    return good.map(
        convert,
        batched=True,
        with_indices=True,
        remove_columns=good.column_names,
        features=aligned_features(good.features, converter, joined=check.joined),
        num_proc=data_args.preprocessing_num_workers,
        load_from_cache_file=(not data_args.overwrite_cache) or (training_args.local_process_index != 0),
        desc="Converting format of dataset",
    )


def _refuse_unreadable(locator: RowLocator, training_args: "Seq2SeqTrainingArguments") -> None:
    """Name the rows of a dataset of which none can be read.

    Raises:
        BadRowsError: there are some.
    """
    if unreadable := locator.unreadable():
        side_file = _side_file(training_args, locator)
        raise BadRowsError(unreadable, dataset=locator.name, checked=len(unreadable), side_file=side_file)


def _align_host_rows(
    host_align: Callable[..., Dataset | IterableDataset],
    dataset: Dataset,
    dataset_attr: "DatasetAttr",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    locator: RowLocator,
) -> Dataset | IterableDataset:
    """Check rows of the host's formats whose file we have read, and let the host align the good ones.

    `_source` and `_side_file` are those of our formats: a processor names and lists a row that it cannot encode.
    """
    if not len(dataset):
        _refuse_unreadable(locator, training_args)
    run = RUN.get()
    check = RowCheck(
        converter=HostRows(dataset_attr, data_args),
        locator=locator,
        media=_media_check(data_args, run),
        texts=TextCheck.of(data_args, run),
        skip_bad_rows=bool(getattr(data_args, "skip_bad_rows", False)) or _entry_skips(dataset_attr),
        side_file=_side_file(training_args, locator),
    )
    if training_args.should_save:
        write_side_file(check.side_file, [])
    good, numbers = _select_good_rows(dataset, check, is_writer=training_args.should_save)
    aligned = host_align(good, dataset_attr, data_args, training_args)
    if not isinstance(aligned, Dataset) or len(aligned) != len(numbers):
        return aligned
    places = list(map(locator.places(numbers).source, range(len(numbers))))
    return aligned.add_column("_source", places).add_column(
        "_side_file", [check.written_file] * len(places), feature=Value("string")
    )


def _entry_skips(dataset_attr: "DatasetAttr") -> bool:
    """Read `skip_bad_rows` of an entry of `dataset_info.json` with one of the host's formats.

    Raises:
        ValueError: it is neither true nor false.
    """
    problems = list(wrong_flags(dataset_attr.hind_info, "skip_bad_rows"))
    refuse_entry(problems, name=dataset_attr.dataset_name, formatting=dataset_attr.formatting)
    return bool(dataset_attr.hind_info.get("skip_bad_rows", False))


def _side_file(training_args: "Seq2SeqTrainingArguments", locator: RowLocator) -> str:
    return os.path.join(training_args.output_dir or ".", "bad_rows", f"{locator.name}.jsonl")


def _media_check(data_args: "DataArguments", run: Run | None) -> MediaCheck:
    """Return the check of a run's media, which remembers what earlier runs found unless the caches are to be written anew."""
    view = MediaView() if run is None else run.view
    store = None if run is None or data_args.overwrite_cache else VerdictStore(run.cache_dir, view)
    return MediaCheck(workers=data_args.preprocessing_num_workers, view=view, store=store)


@dataclass
class RowCheck:
    """What it takes to check a row, and what to do with a bad one."""

    converter: Any  # of our formats `RowConverter`, of the host's `HostRows`
    locator: RowLocator
    media: MediaCheck
    texts: TextCheck
    skip_bad_rows: bool
    side_file: str
    joined: bool = False

    def problems(self, row: Mapping[str, Any]) -> tuple[RowProblem, ...]:
        """Return everything that is wrong with a row; a row whose fields are fine is read as text as well."""
        found = tuple(self.converter.problems(row, self.media))
        return found or tuple(self.texts.problems(row, self.converter))

    @property
    def written_file(self) -> str | None:
        """The side file, None unless bad rows are skipped."""
        return self.side_file if self.skip_bad_rows else None

    def error(self, rows: Sequence[BadRow], *, checked: int | None = None) -> BadRowsError:
        """Return the error that names these rows."""
        return BadRowsError(rows, dataset=self.locator.name, checked=checked, side_file=self.side_file)


@dataclass
class StreamConversion:
    """The function that a stream's `map` calls: rows are checked as they pass."""

    check: RowCheck

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Convert the good rows of a batch; raise on a bad one, or list it in the side file and leave it out."""
        check = self.check
        good = [row for row in to_rows(batch, check.locator.json_columns) if self.is_good(row)]
        return to_aligned(
            check.converter,
            good,
            [check.locator.path] * len(good),
            side_file=check.written_file,
            joined=check.joined,
            escaped=check.texts.escaped,
        )

    def is_good(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row is good; a bad one is listed, or raised when bad rows are not skipped."""
        check = self.check
        problems = check.problems(row)
        if not problems:
            return True
        file, number = check.locator.find(row)
        bad_row = BadRow(file, number, problems, row)
        if not check.skip_bad_rows:
            raise check.error([bad_row])
        if append_to_side_file(check.side_file, bad_row):
            logger.warning(f"Skipped a bad row, listed in {check.side_file}:\n{bad_row}")
        return False


def _align_stream(dataset: IterableDataset, check: RowCheck, *, column_names: list[str]) -> IterableDataset:
    convert = StreamConversion(check)
    features = aligned_features(dataset.features, check.converter, joined=check.joined) if dataset.features else None
    # One row at a time: a bad row must not raise before the rows in front of it have been used.
    aligned = dataset.map(convert, batched=True, batch_size=1, remove_columns=column_names, features=features)
    if next(iter(aligned), None) is None:
        raise ValueError(f"Dataset {check.locator.name}: every row is bad; {check.side_file} says why.")
    return aligned


def _select_good_rows(dataset: Dataset, check: RowCheck, *, is_writer: bool) -> tuple[Dataset, np.ndarray]:
    """Return the good rows and their numbers as stored, from 1; every process comes to the same ones."""
    began = time.perf_counter()
    name = check.locator.name
    numbers = check.locator.numbers(dataset)  # (rows,)
    unreadable = check.locator.unreadable()
    bad_rows: dict[int, BadRow] = {}  # by number: the host may have drawn a row twice
    is_good = np.ones(len(dataset), dtype=bool)
    for position, row in enumerate(_stored_rows(dataset, check)):
        problems = check.problems(row)
        if problems:
            is_good[position] = False
            number = int(numbers[position])
            file, number_in_file = check.locator.place(number)
            bad_rows[number] = BadRow(file, number_in_file, problems, row)
    listed = unreadable + [bad_rows[number] for number in sorted(bad_rows)]
    if listed and not (check.skip_bad_rows and is_good.any()):
        raise check.error(listed, checked=len(np.unique(numbers)) + len(unreadable))
    seconds = time.perf_counter() - began
    logger.info_rank0(
        f"Checked {len(dataset)} rows and {len(check.media)} media files of {name} in {seconds:.1f} s; "
        f"{len(check.media) - check.media.opened} files were known from an earlier run."
    )
    if (told := check.media.told_differences()) is not None:
        logger.warning_rank0(f"Media of {name}: {told}")
    if not listed:
        return dataset, numbers
    if is_writer:
        write_side_file(check.side_file, listed)
    rows = "row" if len(listed) == 1 else "rows"
    logger.warning_rank0(
        f"Skipped {len(listed)} bad {rows} of {name}, out of {len(dataset) + len(unreadable)}; see {check.side_file}."
    )
    return dataset.select(np.flatnonzero(is_good)), numbers[is_good]


def _stored_rows(dataset: Dataset, check: RowCheck) -> Iterator[dict[str, Any]]:
    # Arrow's own values: a picture inside the table stays encoded, so that a broken one is found by the check.
    for table in dataset.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        rows = to_rows(table.to_pydict(), check.locator.json_columns)
        check.media.open_all(file for row in rows for file in check.converter.media_files(row))
        yield from rows
