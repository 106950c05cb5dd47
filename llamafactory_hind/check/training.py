"""A `train` configuration: parsed by the host, rows read as training reads them, rewards tried; no model is loaded."""

import tempfile
from pathlib import Path
from typing import Any

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

from ..config import ROWS
from ..engines.teachers.plan import read_teacher_plan
from ..engines.teachers.run import absent_packages
from ..trainers.host import HostArguments
from .arguments import CheckArguments, Request
from .estimate import describe_memory, describe_run
from .findings import Report
from .rewards import check_rewards
from .rows import check_rows
from .surroundings import GIB, check_disk, check_output_folder, check_packages, check_resumed, check_server
from .weights import stored_weights


def check_training(request: Request, report: Report) -> None:
    """Look at packages, output, rows, rewards, servers, and say what the run takes."""
    settings = request.settings
    check_packages(settings, report)
    output = str(settings.get("output_dir") or "")
    if output:
        ours, asked = settings.get("stage") in ROWS, settings.get("resume_from_checkpoint")
        if ours and isinstance(asked, str) and asked.lower() not in ("", "true", "false"):
            check_resumed(Path(asked), report)
        else:
            check_output_folder(Path(output), report, exact=ours and not settings.get("overwrite_output_dir"))
    with tempfile.TemporaryDirectory() as scratch:
        args = _parse(settings, scratch, report)
        if args is None:
            check_disk(output or ".", None, report)
            return
        _look_at_teachers(getattr(args.finetuning, "teacher", None), report)
        rows = _look_at_rows(args, request.own.check_rows, report)
    own, steps = request.own, 0
    if rows:
        steps = describe_run(args, rows, report, processes=own.check_processes, limited=own.check_rows is not None)
    _check_room(args, output, steps, own, report)
    url = getattr(args.finetuning, "rollout_server", None)
    for server in [url] if isinstance(url, str) else url or []:
        key = getattr(args.finetuning, "rollout_api_key_env", None)
        check_server(server, None, key, request.own.check_calls, report)


def _parse(settings: dict[str, Any], scratch: str, report: Report) -> HostArguments | None:
    """Return the host's arguments with an output folder that may be written to; None where the host refuses them."""
    try:
        # The host looks into the real folder for checkpoints; what it would write goes elsewhere.
        return HostArguments(*get_train_args({**settings, "output_dir": scratch}))
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        report.add("error", "keys", "LLaMA-Factory", f"{type(error).__name__}: {error}")
        return None


def _look_at_teachers(teacher: str | None, report: Report) -> None:
    """Report a teacher file that cannot be read, and packages that a teacher needs."""
    if teacher is None:
        return
    try:
        plan = read_teacher_plan(teacher)
    except ValueError as error:
        report.add("error", "keys", "teacher", str(error))
        return
    for absent in absent_packages(plan):
        report.add("error", "packages", "teacher", absent)


def _look_at_rows(args: HostArguments, most: int | None, report: Report) -> int:
    """Return the number of training rows."""
    try:
        module = load_tokenizer(args.model)
        template = get_template_and_fix_tokenizer(module["tokenizer"], args.data)
    except (ValueError, OSError, KeyError) as error:
        report.add("error", "model", str(args.model.model_name_or_path), f"{type(error).__name__}: {error}")
        return 0
    count = 0
    for kind, name, rows in check_rows(args, template, module, most, report):
        count += len(rows) if kind == "dataset" else 0
        if ROWS.get(args.finetuning.stage) == "prompts":
            check_rewards(args.finetuning, rows, name, report)
    return count


def _check_room(args: HostArguments, output: str, steps: int, own: CheckArguments, report: Report) -> None:
    weights = stored_weights(Path(str(args.model.model_name_or_path)))
    if weights is None:
        report.add("note", "estimate", "memory", "the model is no local folder of safetensors: its size is not known.")
        check_disk(output or ".", None, report)
        return
    room = None if own.check_memory is None else own.check_memory * GIB
    checkpoint = describe_memory(args, weights, report, processes=own.check_processes, room=room)
    every = args.training.save_steps if args.training.save_strategy == "steps" else 0
    count = int(steps / every) if every >= 1 else 1 if args.training.save_strategy != "no" else 0
    kept = min(count, args.training.save_total_limit or count)
    check_disk(output or ".", kept * checkpoint + weights.stored, report)
