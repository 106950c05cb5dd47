"""What a DeepSpeed configuration asks for, read without DeepSpeed."""

import json
from pathlib import Path
from typing import Any


def zero_stage(deepspeed: Any) -> int | None:
    """Return the ZeRO stage of the host's `deepspeed` key: a path or a mapping; None where it names none.

    A file that cannot be read has no stage here: the host reports it in its own words.
    """
    if isinstance(deepspeed, str):
        try:
            deepspeed = json.loads(Path(deepspeed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
    zero = deepspeed.get("zero_optimization") if isinstance(deepspeed, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return stage if isinstance(stage, int) else None
