"""Which checkpoint a run goes on from: the newest whole one of the same run, chosen by one process for all.

The host takes the folder with the highest number, whole or not and whoever wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list
from llamafactory.extras import logging

from ..config.problem import ConfigError, Problem
from ..storage.checkpoints import STATE, Found, fault_of, find_whole, processes_of, read_seal, tidy
from ..storage.runs import differences, lock_folder, read_run, write_run
from ..storage.weights import INDEXES, WEIGHTS, missing_parts, missing_state, weights_alone


if TYPE_CHECKING:
    from typing import IO

    from .host import HostArguments

logger = logging.get_logger("llamafactory.hind.trainers.resuming")
ELSEWHERE = "Give another `output_dir`"
NEEDED = ("stage", "finetuning_type")  # without these being equal, a state cannot be gone on from, even on purpose


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        checkpoint: to go on from; None is the beginning.
        finished: the step at which this run has ended already; None where it has not.
        lock: keeps other processes out of the folder until it is closed.
    """

    checkpoint: str | None = None
    finished: int | None = None
    lock: "IO[str] | None" = None


def run_of(args: "HostArguments") -> dict[str, Any]:
    """Return what tells a run from others; of paths the last name counts, as a project may move."""
    return {
        "stage": str(args.finetuning.stage),
        "finetuning_type": str(args.finetuning.finetuning_type),
        "model": Path(str(args.model.model_name_or_path)).name,
        "adapters": [Path(str(adapter)).name for adapter in args.model.adapter_name_or_path or []],
        "dataset": [str(name) for name in args.data.dataset or []],
    }


def plan_of(args: "HostArguments") -> dict[str, Any]:
    """Return how far a run goes, as its keys say; a finished run with more to do is gone on with."""
    training = args.training
    return {
        "max_steps": training.max_steps,
        "num_train_epochs": float(training.num_train_epochs),
        "batch": training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size,
        "max_samples": args.data.max_samples,
    }


def prepare(args: "HostArguments", given: Any) -> Start:
    """Look at the output folder, refuse one that is another run's, and choose a checkpoint.

    Args:
        args: the host's.
        given: the key `resume_from_checkpoint` as the user wrote it; None, "" and False leave the choice to us.

    Raises:
        ConfigError: the folder belongs to another run, or the checkpoint to go on from is not whole, of another stage, or has
            weights alone.
        FolderInUse: another process trains into it.
    """
    if not args.training.do_train:
        return Start()
    start: list[Any] = [None]
    if args.training.process_index == 0:
        try:
            start = [_prepare(args, given)]
        except Exception as error:  # the others must hear of it, or they would wait
            start = [error]
    if args.training.world_size > 1:
        told = [_plain(start[0])]
        broadcast_object_list(told)
        start = start if args.training.process_index == 0 else told
    if isinstance(start[0], Exception):
        raise start[0]
    return start[0]


def _plain(start: Any) -> Any:
    return Start(start.checkpoint, start.finished) if isinstance(start, Start) else start


def _prepare(args: "HostArguments", given: Any) -> Start:
    output, run, plan = Path(args.training.output_dir), run_of(args), plan_of(args)
    record = read_run(output)
    if record is not None and _has_work(output):  # a run that failed before its first step leaves nothing to keep
        refuse_other_run(output, record["run"], run)
    lock = lock_folder(output)
    tidy(output)
    if getattr(args.training, "overwrite_output_dir", False):
        checkpoint, finished = None, None
    else:
        asked = given if isinstance(given, str) and given not in ("", "True", "true") else None
        finished = _finished(output, record, plan) if asked is None else None
        checkpoint = _asked(Path(asked), output, run) if asked else _newest(output, run)
        if checkpoint is not None and finished is None:
            refuse_weights_alone(checkpoint, "resume_from_checkpoint" if asked else "output_dir")
        if checkpoint is None and given:
            raise ConfigError([_problem(given, "a whole checkpoint in `output_dir`", "Remove the key to begin anew.")])
        if checkpoint is not None and finished is None:
            _refuse_processes(checkpoint, args.training.world_size)
        if checkpoint is None and finished is None:
            _refuse_model(output, record)
    if finished is None:
        write_run(output, run, plan, finished=None)
    return Start(None if checkpoint is None else str(checkpoint), finished, lock)


def refuse_other_run(folder: Path, before: Mapping[str, Any] | None, run: Mapping[str, Any]) -> None:
    """Stop where a folder was written by another run.

    Raises:
        ConfigError: names what differs.
    """
    changed = differences(before or {}, run)
    if changed:
        remedy = f"{ELSEWHERE}, or set `resume_from_checkpoint` to go on from one of its checkpoints there on purpose."
        if any(change.startswith(NEEDED) for change in changed):
            remedy = f"{ELSEWHERE}."
        got = f"{folder}, of another run ({'; '.join(changed)})"
        raise ConfigError([Problem("output_dir", got, "a new folder, or that of this run", remedy)])


def refuse_weights_alone(checkpoint: Path, key: str) -> None:
    """Stop where a run would go on with another optimizer, schedule and other random numbers than it had.

    Args:
        checkpoint: to go on from.
        key: that leads to it.

    Raises:
        ConfigError: it was written with `save_only_model`; names what it lacks.
    """
    if checkpoint.is_dir() and (missing := missing_state(checkpoint)):
        raise ConfigError([weights_alone(checkpoint, missing, key)])


def _has_work(output: Path) -> bool:
    """Say whether a folder has anything that a run made: checkpoints, weights, completions, lines of the log."""
    patterns = ("checkpoint-*", "completions/*.parquet", "trainer_log.jsonl", "*/adapter_model.*", "adapter_model.*")
    return any(next(output.glob(pattern), None) is not None for pattern in (*patterns, *WEIGHTS, *INDEXES))


def _finished(output: Path, record: Mapping[str, Any] | None, plan: Mapping[str, Any]) -> int | None:
    """Return the step at which the run of a record ended, if it had the same to do and its model is there."""
    if record is None or record.get("finished") is None or differences(record["plan"], plan):
        return None
    has_model = any((output / name).is_file() for name in (*WEIGHTS, *INDEXES)) or any(
        output.glob("*/adapter_model.*")
    )
    return int(record["finished"]) if has_model else None


def _asked(checkpoint: Path, output: Path, run: Mapping[str, Any]) -> Path:
    unsealed = (checkpoint / STATE).is_file() and read_seal(
        checkpoint
    ) is None  # a sealed one says what it should have
    if unsealed and next(missing_parts(checkpoint, whole_set=False), None) is None:
        refuse_weights_alone(checkpoint, "resume_from_checkpoint")
    reason = fault_of(checkpoint)
    if reason is not None:
        newest = find_whole(checkpoint.parent).newest
        remedy = f"The newest whole one is {newest}." if newest else "There is no whole one beside it."
        raise ConfigError([_problem(str(checkpoint), f"a whole checkpoint; of this one, {reason}", remedy)])
    changed = differences((read_seal(checkpoint) or {}).get("run", {}), {key: run[key] for key in NEEDED})
    if changed:
        remedy = "Start from its model instead: `model_name_or_path` or `adapter_name_or_path`."
        raise ConfigError([_problem(f"{checkpoint} ({'; '.join(changed)})", "a checkpoint of this stage", remedy)])
    return checkpoint


def _refuse_processes(checkpoint: Path, now: int) -> None:
    """Stop where a checkpoint is of another number of processes: which rows come next, and the split states, are of that number."""
    before = processes_of(checkpoint)
    if before not in (None, now):
        remedy = (
            f"Start {before} again, or begin a new run in another `output_dir` from its model "
            "(`model_name_or_path` or `adapter_name_or_path`)."
        )
        got = f"{checkpoint}, written by {before} {_processes(before)}"
        raise ConfigError([_problem(got, f"a checkpoint of the {now} {_processes(now)} of this start", remedy)])


def _processes(number: int) -> str:
    return "process" if number == 1 else "processes"


def _newest(output: Path, run: Mapping[str, Any]) -> Path | None:
    """Return the newest whole checkpoint, and say in one line what was left out."""
    found = find_whole(output)
    if found.newest is not None:
        _refuse_foreign(found.newest, run)
    _tell(found)
    return found.newest


def _refuse_foreign(checkpoint: Path, run: Mapping[str, Any]) -> None:
    sealed = read_seal(checkpoint)
    if sealed is not None:
        return refuse_other_run(checkpoint, sealed["run"], run)
    expected = "a new folder, or one whose checkpoints say that this run wrote them"
    remedy = f"{ELSEWHERE}, or `resume_from_checkpoint: {checkpoint}` to go on from it on purpose."
    got = f"{checkpoint}, which does not say who wrote it (a stage of the host, or an earlier version)"
    raise ConfigError([Problem("output_dir", got, expected, remedy)])


def _tell(found: Found) -> None:
    left = "; ".join(f"{checkpoint.name} is left out: {reason}" for checkpoint, reason in found.left_out)
    if found.newest is not None:
        logger.info_rank0(f"{left + '. ' if left else ''}Resuming training from {found.newest}.")
    elif left:
        logger.warning_rank0(f"{left}. No checkpoint is whole: training begins anew.")


def _refuse_model(output: Path, record: Mapping[str, Any] | None) -> None:
    """Stop before the model of an ended run is written over, where there is no state to go on from."""
    model = next((name for name in (*WEIGHTS, *INDEXES) if (output / name).is_file()), None)
    if model is None or (record is not None and record.get("finished") is None):
        return  # a run that was killed in its last save has written it
    got = f"{output}, which holds {model} of a finished run and no checkpoint"
    raise ConfigError(
        [Problem("output_dir", got, "a new folder, or one with a checkpoint to go on from", f"{ELSEWHERE}.")]
    )


def _problem(got: Any, expected: str, remedy: str) -> Problem:
    return Problem("resume_from_checkpoint", got, expected, remedy)
