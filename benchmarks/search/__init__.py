"""One-file search against other exact indexes."""
