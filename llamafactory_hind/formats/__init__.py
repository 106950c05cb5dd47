"""Rows to tokens and media: dataset converters, checks and processors.

`CONVERTERS` is resolved on first use, so that `formats.prompts.wording` can be read without LLaMA-Factory.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "CONVERTERS":
        from .hindsight.converter import HindsightConverter
        from .rollout.converter import RolloutConverter

        return {"hindsight": HindsightConverter, "rollout": RolloutConverter}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
