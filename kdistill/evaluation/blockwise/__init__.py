"""Scores of queries against a gallery of any size, block by block within a memory budget."""
