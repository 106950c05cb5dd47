"""Predictions to numbers: pure Python, text in, scores out.

A file of `metrics/` is a metric; `score` is the command, the other files are what metrics compute with.
"""

from .aokvqa import aokvqa_choice, aokvqa_direct
from .question_types import choice_accuracy
from .sherlock import sherlock_pairwise
from .spans import temporal_iou
from .vcr import vcr_accuracy
from .visualcomet import acc_at_50
from .vqa import vqa_accuracy


__all__ = [
    "acc_at_50",
    "aokvqa_choice",
    "aokvqa_direct",
    "choice_accuracy",
    "sherlock_pairwise",
    "temporal_iou",
    "vcr_accuracy",
    "vqa_accuracy",
]
