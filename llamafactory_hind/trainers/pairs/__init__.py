"""Preference pairs: two answers of one prompt in one forward pass, and a `pair_loss` -> (N,).

`collator` lays pairs out, `sharing` says whether a pair computes its prompt once, `reference` keeps
log-probs of the reference model on disk, `trainer` is the loop.
"""
