"""Work on a Ray cluster: asking and embedding, as in one process."""
