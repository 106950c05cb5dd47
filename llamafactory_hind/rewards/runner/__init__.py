"""What calls rewards: finds them by name or file, gives them the columns they ask for, and stops those that hang."""
