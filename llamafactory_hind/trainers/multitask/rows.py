"""What the rows of a run have: both tasks, or a word about the one that is missing; the answers alone where reasoning has no weight."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from llamafactory.extras import logging

from .collator import ANSWER, texts_of


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.get_logger("llamafactory.hind.trainers.multitask.rows")


def check_tasks(dataset: "Dataset", *, reason_weight: float) -> None:
    """Say how many texts of each task there are.

    Args:
        dataset: processed rows.
        reason_weight: of the loss.

    Raises:
        ValueError: no row has what the run would learn from.
    """
    counts = Counter(task for tasks in dataset.select_columns("tasks")["tasks"] for task in tasks)
    reasons = sum(count for task, count in counts.items() if task != "answer")
    listed = ", ".join(f"{count} {task}" for task, count in counts.items())
    logger.info_rank0(f"{len(dataset)} rows with {listed}; every task but `answer` is reasoning.")
    if not counts["answer"] and reason_weight == 0:
        raise ValueError(
            "`reason_weight: 0` learns answers alone, and no row has an answer task. Set `target: multitask` (or `answer`) in "
            "dataset_info.json, or a `reason_weight` above 0."
        )
    if not counts["answer"] or (not reasons and reason_weight):
        missing = "reasoning" if counts["answer"] else "an answer task"
        logger.warning_rank0(
            f"No row has {missing}, so this is plain `sft` on the other task; `target: multitask` in dataset_info.json has both."
        )


def with_answers_alone(dataset: "Dataset") -> "Dataset":
    """Return the rows that have an answer task, with that alone, in their order."""
    answered = dataset.filter(lambda tasks: "answer" in tasks, input_columns="tasks", desc="Rows with an answer")
    return answered.map(_answer_alone, desc="Answers alone")


def _answer_alone(row: dict[str, Any]) -> dict[str, Any]:
    texts = [text for text in texts_of(row) if text.task == ANSWER]
    return {
        "tasks": ["answer"] * len(texts),
        "lengths": [len(text.ids) for text in texts],
        "input_ids": [token for text in texts for token in text.ids],
        "labels": [label for text in texts for label in text.labels],
    }
