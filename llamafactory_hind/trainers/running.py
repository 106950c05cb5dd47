"""One start of a stage: the folder looked at, the checkpoint chosen, one line if it is stopped, a mark when it is finished."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamafactory.extras import logging

from ..storage.checkpoints import STATE
from ..storage.runs import write_run
from .resuming import plan_of, prepare, run_of
from .stopping import one_line_when_stopped
from .together import ends_together


if TYPE_CHECKING:
    from .host import HostArguments

logger = logging.get_logger("llamafactory.hind.trainers.running")


def run_once(run: "Callable[[HostArguments], None]", args: "HostArguments", given: Any) -> None:
    """Run a stage from where its folder stands; a finished run takes no further step.

    Args:
        run: of the stage.
        args: the host's; the checkpoint is written into them.
        given: the key `resume_from_checkpoint` as the user wrote it.

    Raises:
        ConfigError: the folder is another run's, or the checkpoint that was asked for cannot be gone on from.
        SystemExit: the run was stopped, or the disk refused; with one line.
    """
    training, output = args.training, Path(args.training.output_dir)
    catches = not getattr(training, "enable_jit_checkpoint", False)
    stopped = one_line_when_stopped(output, main=training.process_index == 0, catch_terminate=catches)
    with stopped, ends_together():
        start = prepare(args, given)
        try:
            if start.finished is not None:
                more = "Give more steps to go on, or another `output_dir` to begin anew."
                logger.info_rank0(f"{output} is finished, at step {start.finished}: nothing is left to do. {more}")
                return
            if training.do_train:
                training.resume_from_checkpoint = start.checkpoint
            run(args)
            if training.do_train and training.process_index == 0:
                write_run(output, run_of(args), plan_of(args), finished=_last_step(output))
        finally:
            if start.lock is not None:
                start.lock.close()


def _last_step(output: Path) -> int:
    return int(json.loads((output / STATE).read_text(encoding="utf-8"))["global_step"])
