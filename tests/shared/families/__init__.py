"""Tiny models of every family that the host loads, to see whether a shared prompt changes their log-probs."""
