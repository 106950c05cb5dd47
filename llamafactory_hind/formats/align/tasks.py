"""The tasks of a row in one example, for stages that learn them together: `_tasks` has the turns of each."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..fields import read_columns


TASKS = "_tasks"


def join_tasks(examples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one example for all examples of a row, which differ in their turns alone; none where there are none.

    It is the first of them, and beside it `_tasks`, JSON of `[{"task", "prompt", "response"}, ...]` in their order; `task` is
    what the format wrote into `_columns`, `answer` where it wrote none.
    """
    several = list(examples)
    tasks = [
        {
            "task": read_columns(example["_columns"]).get("task", "answer"),
            "prompt": example["_prompt"],
            "response": example["_response"],
        }
        for example in several
    ]
    if several:
        yield {**several[0], TASKS: json.dumps(tasks, ensure_ascii=False)}
