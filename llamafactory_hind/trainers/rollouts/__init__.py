"""Rollouts: write, annotate, learn `num_iterations` times.

Read `annotator.py` (what a method must give), `records.py` and `batch.py` (what travels), then
`trainer.py`. `writing`, `rewards` and `scoring` do the three steps, `run` puts a stage together.
"""
