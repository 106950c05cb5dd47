"""Clips whose questions need time, rows about them, and two untrained checkpoints: the world of `pipeline: video_reasoning`.

A world of its own, in its own folder: what the other world writes stays as it is.
"""
