"""Aligned rows to token ids, in the host's own words. `PROCESSORS` has one for each kind of rows that a stage's `ROWS` names."""

from llamafactory.data.processor.processor_utils import DatasetProcessor

from .pairs import PairProcessor
from .prompts import PromptProcessor


PROCESSORS: dict[str, type[DatasetProcessor]] = {"pairs": PairProcessor, "prompts": PromptProcessor}
