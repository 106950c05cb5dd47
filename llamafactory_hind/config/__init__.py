"""Keys, their defaults and their checks. Standard library only, but for `command` and `reading`; neither torch nor the host.

`stages/` has one file a stage, `keys/` what several stages take, `limits` the checks they share;
`catalogue` finds modules by name, `types` says what fits a key and which word is nearest.
"""

from .checks import check_train
from .problem import ConfigError, Problem
from .registry import DATA_ARGUMENTS, FINETUNING_ARGUMENTS, LABELS, OUR_KEYS, PAIR_STAGES, ROWS, STAGES
from .words import settings, stage_of_file


__all__ = [
    "DATA_ARGUMENTS",
    "FINETUNING_ARGUMENTS",
    "LABELS",
    "OUR_KEYS",
    "PAIR_STAGES",
    "ROWS",
    "STAGES",
    "ConfigError",
    "Problem",
    "check_train",
    "settings",
    "stage_of_file",
]
