"""Commands that the Board starts and that outlive the page, and the Board itself: each is a folder, and found again by it."""
