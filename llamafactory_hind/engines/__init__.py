"""Models that write and score: one implementation for rollouts, teachers and pipelines."""
