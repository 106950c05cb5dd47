"""Predictions to numbers: pure Python, text in, scores out."""

from .vqa import vqa_accuracy


__all__ = ["vqa_accuracy"]
