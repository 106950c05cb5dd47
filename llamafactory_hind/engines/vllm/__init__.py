"""Rollouts by a vLLM server: token ids in, token ids and their log-probs out, with the weights of the policy in training.

Written against vLLM 0.32 (`/inference/v1/generate`, in `protocol`); the server is a program of its own, in another environment.
"""
