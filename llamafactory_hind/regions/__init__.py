"""Boxes: geometry. Pure Python, numbers in, numbers out."""
