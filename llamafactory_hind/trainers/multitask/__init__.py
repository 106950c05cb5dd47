"""Rows with several tasks: their texts in one forward pass, a loss for each task, `weight` of the second the stage's.

`collator` lays rows out, `sharing` says whether the texts of a row compute their prompt once, `losses` sums by task, `answers`
writes answers at an evaluation, `trainer` is the loop.
"""
