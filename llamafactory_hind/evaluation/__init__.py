"""Predictions to numbers: pure Python, text in, scores out."""

from .aokvqa import aokvqa_choice, aokvqa_direct
from .vqa import vqa_accuracy


__all__ = ["aokvqa_choice", "aokvqa_direct", "vqa_accuracy"]
