"""Set-up that several test files share."""
