"""Runs our stages where the host runs its own: in `_training_function`, which Ray workers call as well."""

from functools import wraps
from types import ModuleType
from typing import Any

from ..config import STAGES, settings


def dispatch_our_stages(tuner: ModuleType) -> None:
    """Send our stages to `stages.get_stage`; every other stage is the host's."""
    host_training_function = tuner._training_function

    @wraps(host_training_function)  # keeps its qualified name: Ray pickles the function by reference
    def _training_function(config: dict[str, Any]) -> None:
        args = tuner.read_args(config.get("args"))
        if settings(args).get("stage") in STAGES:
            run_stage(tuner, args, config.get("callbacks"))
        else:
            host_training_function(config)

    tuner._training_function = _training_function


def run_stage(tuner: ModuleType, args: Any, callbacks: list[Any]) -> None:
    """Parse, build the callbacks the host builds, run the stage, and leave the process group, as the host does."""
    from ..stages import get_stage
    from ..trainers.host import HostArguments
    from ..trainers.logs import MetricsLogCallback
    from ..trainers.running import run_once

    model_args, data_args, training_args, finetuning_args, generating_args = tuner.get_train_args(args)
    host_args = HostArguments(model_args, data_args, training_args, finetuning_args, generating_args, callbacks)
    callbacks.append(MetricsLogCallback())  # the host's, with every metric in its file
    if finetuning_args.pissa_convert:
        callbacks.append(tuner.PissaConvertCallback())
    if finetuning_args.use_swanlab:
        callbacks.append(tuner.get_swanlab_callback(finetuning_args))
    if finetuning_args.early_stopping_steps is not None:
        patience = finetuning_args.early_stopping_steps
        callbacks.append(tuner.EarlyStoppingCallback(early_stopping_patience=patience))
    if getattr(training_args, "enable_torch_profiler", False):  # since 0.9.5
        callbacks.append(tuner.TorchProfilerCallback(training_args))
    if getattr(training_args, "profile_modules", None):  # since 0.9.5
        callbacks.append(tuner.ModuleProfilerCallback(training_args.profile_modules))
    callbacks.append(
        tuner.ReporterCallback(model_args, data_args, finetuning_args, generating_args)
    )  # the host's last

    run_once(get_stage(finetuning_args.stage).run, host_args, settings(args).get("resume_from_checkpoint"))
    leave_process_group(tuner)


def leave_process_group(tuner: ModuleType) -> None:
    """Destroy the process group, unless Ray does so itself when the function returns."""
    if tuner.is_ray_available() and tuner.ray.is_initialized():
        return
    try:
        if tuner.dist.is_initialized():
            tuner.dist.destroy_process_group()
    except (RuntimeError, ValueError) as error:  # the run is complete and saved: an error at the end must not fail it
        tuner.logger.warning(f"Failed to destroy process group: {error}.")
