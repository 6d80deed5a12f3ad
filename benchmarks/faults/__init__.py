"""A whole run, killed again and again."""
