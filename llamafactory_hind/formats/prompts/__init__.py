"""Every wording: the prompts of the `hindsight` format, and the Jinja files that a user may replace."""
