"""The host's choice of a checkpoint, left to us for our stages: it takes the highest number, whole or not."""

from functools import wraps
from types import ModuleType
from typing import Any

from .. import config


KEY = "resume_from_checkpoint"


def choose_checkpoints_ourselves(parser: ModuleType) -> None:
    """Let the host choose no checkpoint for our stages; `trainers.resuming` does, before anything is loaded."""
    host_get_train_args = parser.get_train_args

    @wraps(host_get_train_args)
    def get_train_args(args: Any = None) -> Any:
        args = parser.read_args(args)
        given = config.settings(args, {KEY, "stage"})
        if given.get("stage") not in config.STAGES or given.get(KEY) not in (None, "", False):
            return host_get_train_args(args)
        # neither None, at which the host looks into the folder, nor a checkpoint
        args = {**args, KEY: ""} if isinstance(args, dict) else [*args, f"--{KEY}", ""]
        parsed = host_get_train_args(args)
        parsed[2].resume_from_checkpoint = None
        return parsed

    parser.get_train_args = get_train_args
