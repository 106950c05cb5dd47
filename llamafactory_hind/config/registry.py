"""Our stages and their keys, read from the folder `stages/`: a new file there is a new stage."""

from dataclasses import fields

from . import stages
from .catalogue import Catalogue
from .keys.rows import RowArguments


_CATALOGUE = Catalogue(stages.__name__, stages.__path__, "stage")
RECORDS = {name: _CATALOGUE.get(name) for name in _CATALOGUE.names()}
STAGES: dict[str, type] = {name: record.Arguments for name, record in RECORDS.items()}
LABELS: dict[str, str] = {name: record.LABEL for name, record in RECORDS.items()}
ROWS: dict[str, str] = {
    name: record.ROWS for name, record in RECORDS.items()
}  # a key of `formats.processors.PROCESSORS`
CHECKS = {name: record.problems for name, record in RECORDS.items()}
PAIR_STAGES = {name for name, rows in ROWS.items() if rows == "pairs"}  # stages that read ranking datasets
SHARED: dict[type, set[str]] = {  # keys of several stages -> the stages that take them
    owner: {name for name, record in RECORDS.items() if owner in record.TAKES}
    for owner in dict.fromkeys(owner for record in RECORDS.values() for owner in record.TAKES)
}

FINETUNING_ARGUMENTS = (*STAGES.values(), *SHARED)  # become fields of the host's FinetuningArguments
DATA_ARGUMENTS = (RowArguments,)  # become fields of the host's DataArguments
OUR_KEYS = frozenset(entry.name for owner in (*FINETUNING_ARGUMENTS, *DATA_ARGUMENTS) for entry in fields(owner))
UNBOUNDED = {key for record in RECORDS.values() for key in getattr(record, "UNBOUNDED", ())}
