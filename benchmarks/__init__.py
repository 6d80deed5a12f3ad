"""Claims about the project: one claim, one command, and its figures in `results/`."""
