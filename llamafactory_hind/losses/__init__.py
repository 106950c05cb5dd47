"""Losses: tensors in, tensors out, unreduced. Imports torch and nothing else of the package."""
