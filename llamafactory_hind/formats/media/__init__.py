"""Pictures, videos and sound: the names of their fields and placeholders, their check, and what opens them."""
