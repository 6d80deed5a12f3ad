"""The training step: its cost, its soundness, several processes."""
