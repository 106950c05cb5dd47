"""Keys, their defaults and their checks. Pure Python: neither torch nor the host is imported here."""

from .checks import check_train
from .problem import ConfigError, Problem
from .registry import DATA_ARGUMENTS, FINETUNING_ARGUMENTS, LABELS, PAIR_STAGES, ROWS, STAGES
from .words import settings, stage_of_file


__all__ = [
    "DATA_ARGUMENTS",
    "FINETUNING_ARGUMENTS",
    "LABELS",
    "PAIR_STAGES",
    "ROWS",
    "STAGES",
    "ConfigError",
    "Problem",
    "check_train",
    "settings",
    "stage_of_file",
]
