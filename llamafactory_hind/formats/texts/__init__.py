"""What models write, read by rules: the layout of thoughts and answers, hints, and leaks of what they were shown."""
