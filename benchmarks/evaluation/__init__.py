"""What exact evaluation and embedding cost."""
