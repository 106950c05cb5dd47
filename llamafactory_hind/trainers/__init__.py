"""Loops. Wings do not import each other; they know no method.

- `pairs`: two answers, one forward pass, `pair_loss` -> (N,).
- `rollouts`: write, annotate, learn `num_iterations` times. Read `annotator.py` (what a method must
  give), `records.py`, `batch.py`, then `trainer.py`.
- `host`, `fit`, `metrics`, `logs`: what both share with the host's trainer.
"""
