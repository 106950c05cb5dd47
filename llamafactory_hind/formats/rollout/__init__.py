"""`formatting: rollout`: prompts for rollouts, with gold answers, external texts and hints beside them."""
